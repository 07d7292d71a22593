"""The server as processes: host, supervisor, workers, ports, and the embedded server."""
