"""Memory: answering what was answered before."""
