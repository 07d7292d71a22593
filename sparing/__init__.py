"""The command `sparing`: serve, list, predict, train, compare, benchmark, report, meters."""
