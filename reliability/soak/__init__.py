"""Mixed valid load for hours, every answer checked."""
