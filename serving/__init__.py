"""The server: endpoints, engine, scheduling, processes and settings."""
