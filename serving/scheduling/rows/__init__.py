"""Rows on their way through lanes: blocks of them, their costs and states, who waits for them."""
