"""PyramidDrop: a decoder reads fewer visual tokens in its deeper layers (arXiv 2410.17247)."""
