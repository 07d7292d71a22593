"""Energy: meters, the reader that polls them, and the ledger that splits their joules."""
