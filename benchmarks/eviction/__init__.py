"""Which entries a full cache should drop first."""
