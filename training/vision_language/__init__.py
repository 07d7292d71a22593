"""How a small vision-language model learns from grids with questions, and how it is judged."""
