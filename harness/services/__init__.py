"""Programs beside the server: Redis, Prometheus, a span collector, an energy counter."""
