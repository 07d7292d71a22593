"""Traces of sampled requests, and the exporter that sends them to a collector."""
