"""`python -m benchmarks.scaling`."""

from benchmarks.scaling.measure import main

main()
