"""What a second worker process costs and brings."""
