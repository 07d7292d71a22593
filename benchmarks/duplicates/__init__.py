"""What a cache adds where pictures repeat."""
