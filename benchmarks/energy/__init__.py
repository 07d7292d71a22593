"""Whether the energy ledger is right, what it costs, and joules a picture."""
