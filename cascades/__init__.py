"""Pipelines that adapt the model: stop at the first stage that is sure."""
