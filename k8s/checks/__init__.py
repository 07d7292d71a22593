"""Checks of rendered objects against each other: each yields a sentence for each fault."""
