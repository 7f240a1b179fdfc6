"""editors/mend."""
