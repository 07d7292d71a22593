"""What each route served, saved and cost: from counters to a table and an HTML page."""
