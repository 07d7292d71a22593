"""`python -m benchmarks.similar`."""

from benchmarks.similar.measure import main

main()
