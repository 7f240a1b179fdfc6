"""Edits as text, kept like code: a file of JSON lines, its journal, undo, history and merging.

Nothing here needs JAX.
"""
