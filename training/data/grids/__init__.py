"""Grids of small pictures with questions about them, to train and test vision-language models."""
