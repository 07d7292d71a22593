"""Rules, alerts and example configuration for a Prometheus that scrapes Sparing."""
