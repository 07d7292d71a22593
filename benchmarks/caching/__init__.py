"""What the benchmarks of the cache share: traces, policies, and a Redis that fails."""
