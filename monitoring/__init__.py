"""Metrics, energy and traces of a server, and limits on its log."""
