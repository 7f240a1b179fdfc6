"""editors/enn."""
