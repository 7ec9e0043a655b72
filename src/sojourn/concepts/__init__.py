"""The concepts room."""
