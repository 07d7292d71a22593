"""Runs `benchmarks.own_models.measure`."""

from benchmarks.own_models.measure import main

if __name__ == "__main__":
    main()
