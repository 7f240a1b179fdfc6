"""tasks/zsre."""
