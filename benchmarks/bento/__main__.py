"""`python -m benchmarks.bento`."""

from benchmarks.bento.measure import main

main()
