"""Adaptive Computation Modules (arXiv 2312.10193): the number of learners is chosen per token."""
