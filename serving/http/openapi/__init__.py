"""The OpenAPI document of the HTTP endpoint."""
