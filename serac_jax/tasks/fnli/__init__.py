"""tasks/fnli."""
