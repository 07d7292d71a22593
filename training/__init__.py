"""Recipes that train, select, export and measure routes. Serving never imports it."""
