"""How the engine uses the caches: in the process, in Redis, and of similar pictures."""
