"""Floor 3: doors, engine, lanes, router and settings."""
