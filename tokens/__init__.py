"""Pipelines that choose the work per token."""
