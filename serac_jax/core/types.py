"""Names for what Python's type system cannot describe."""

from typing import Any

Config = Any  # an ml_collections.ConfigDict, locked: its fields are checked when they are read
Params = Any  # a nested dictionary of arrays
Edited = Any  # a model with its edits; only its editor looks inside
