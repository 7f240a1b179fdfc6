"""The small world that the package ships: true facts, models that know them, and the scripts that
made both."""
