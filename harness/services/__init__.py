"""Services around the server: Redis, Prometheus, a span collector, an energy counter."""
