"""`python -m benchmarks.gathering`."""

from benchmarks.gathering.measure import main

main()
