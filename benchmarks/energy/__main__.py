"""`python -m benchmarks.energy`."""

from benchmarks.energy.measure import main

main()
