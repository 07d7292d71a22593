"""Infer requests over HTTP, with JSON and the binary tensor extension in both directions."""
