"""`sparing compress`: int8 twins of a model, and of the stages of a route that exists."""
