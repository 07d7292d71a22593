"""Meters: where joules are read, one source a file. What becomes of them is the ledger's."""
