"""A small vision-language model as a route: prompts and pictures in, words out, step by step."""
