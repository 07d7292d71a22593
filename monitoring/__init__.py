"""Seconds and joules per route and exit."""
