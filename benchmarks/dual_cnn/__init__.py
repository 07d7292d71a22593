"""What the dual-CNN cascade saves, without a server."""
