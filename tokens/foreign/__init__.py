"""Vision transformers that were trained elsewhere, as nets of this package."""
