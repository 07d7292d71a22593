"""The server as processes: host, supervisor and workers, ports, and the server inside another."""
