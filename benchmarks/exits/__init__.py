"""What early exits save on a large net."""
