"""`python -m benchmarks.remote`."""

from benchmarks.remote.measure import main

main()
