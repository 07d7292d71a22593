"""`python -m benchmarks.tracing`."""

from benchmarks.tracing.measure import main

main()
