"""Studies that compare methods. They import `training`, and only benchmarks import them."""
