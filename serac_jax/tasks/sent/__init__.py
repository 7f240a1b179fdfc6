"""tasks/sent."""
