"""Sparing beside other servers that answer the same requests with the same nets."""
