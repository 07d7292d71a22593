"""The phases in which a net learns to choose the work per token (arXiv 2312.10193)."""
