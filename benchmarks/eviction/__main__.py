"""`python -m benchmarks.eviction`."""

from benchmarks.eviction.measure import main

main()
