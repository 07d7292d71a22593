"""What a training found: numbers, tables and figures."""
