"""Routes of models that others publish."""
