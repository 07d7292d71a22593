"""Picture files of clients as inputs of a route: read, checked, decoded beside the event loop."""
