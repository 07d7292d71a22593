"""Trained models of others, imported: the two tables of the page about own models."""
