"""`python -m benchmarks.workers`."""

from benchmarks.workers.measure import main

main()
