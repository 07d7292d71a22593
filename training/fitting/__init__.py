"""Training nets: the loop, the losses, the targets, and the processes that run it."""
