"""`python -m benchmarks.compare`."""

from benchmarks.compare.measure import main

main()
