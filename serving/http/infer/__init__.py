"""Infer requests over HTTP: JSON and the binary tensor extension, both ways."""
