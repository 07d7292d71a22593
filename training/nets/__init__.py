"""Definitions of nets: the pools, LeNet, nets with exits, autoencoders; and running them."""
