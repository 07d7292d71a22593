"""Mutated requests on both endpoints, and the runs that send them."""
