"""Server processes behind haproxy under a real trace, and what the simulator says of the same."""
