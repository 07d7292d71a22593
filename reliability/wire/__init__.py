"""One connection to a server: what is sent, what must come back, and how it is judged."""
