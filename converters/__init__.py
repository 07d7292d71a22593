"""Pipelines that adapt the input: turning a hard picture into an easy one."""
