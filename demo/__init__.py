"""`make demo`: a server, Redis and Prometheus under a real trace, and a page of the dashboards."""
