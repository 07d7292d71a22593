"""`sparing train`: a sub-command for each recipe."""
