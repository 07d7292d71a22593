"""What the benchmarks of the cache share: traces, policies, near-duplicates and audits."""
