"""`python -m benchmarks.dual_cnn`."""

from benchmarks.dual_cnn.measure import main

main()
