"""What a server counts of its requests, rows and caches, and the text that Prometheus reads."""
