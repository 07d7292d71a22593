"""Energy meters, one source per module. The ledger splits their joules."""
