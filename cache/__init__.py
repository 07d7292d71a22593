"""The answer cache: in the process, in Redis, and for similar pictures."""
