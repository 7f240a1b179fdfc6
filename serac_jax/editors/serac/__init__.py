"""editors/serac."""
