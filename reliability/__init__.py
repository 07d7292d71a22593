"""Long runs that try to break a server: mutated conversations, mixed load for hours, cases."""
