"""Floor 2: the table of pipelines, loading a route directory, running a route offline."""
