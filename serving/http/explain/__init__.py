"""The explain endpoint: the path of one input through its route, as JSON or as a picture."""
