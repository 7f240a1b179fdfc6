"""editors/lookup."""
