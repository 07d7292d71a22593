"""Shared by tests, benchmarks and the demo: start servers, load them, and write results."""
