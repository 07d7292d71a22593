"""The table of pipelines, loading a route directory, and running a route without a server."""
