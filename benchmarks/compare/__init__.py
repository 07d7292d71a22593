"""Converters, early exits and plain small nets, compared."""
