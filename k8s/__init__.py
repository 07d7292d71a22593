"""Kubernetes: manifests, a Helm chart and an image, and what renders, checks and tries them."""
