"""Data sets: found or downloaded, verified, split and augmented."""
