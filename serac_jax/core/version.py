"""The package's version, which pyproject.toml reads too."""

VERSION = "0.5.5"
