"""What BentoML costs as a host."""
