"""Connections to the Redis that sentinels name as the master."""
