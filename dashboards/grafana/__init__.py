"""Dashboards for Grafana, generated from Python and committed as JSON. Serving needs none of it."""
