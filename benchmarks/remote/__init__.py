"""The second cache tier, against a real Redis."""
