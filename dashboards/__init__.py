"""Grafana dashboards and Prometheus rules, and the Python that generates them."""
