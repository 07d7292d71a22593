"""Pipelines that adapt the model: a row stops at the first stage that is confident enough."""
