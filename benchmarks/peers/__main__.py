"""Runs `benchmarks.peers.measure`."""

from benchmarks.peers.measure import main

if __name__ == "__main__":
    main()
