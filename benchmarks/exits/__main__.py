"""`python -m benchmarks.exits`."""

from benchmarks.exits.measure import main

main()
