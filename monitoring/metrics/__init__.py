"""Metrics of a server: counts of requests, rows and caches, and the text that Prometheus reads."""
