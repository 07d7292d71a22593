"""`python -m benchmarks.duplicates`."""

from benchmarks.duplicates.measure import main

main()
