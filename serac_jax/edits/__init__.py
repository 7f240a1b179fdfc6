"""Edits as text that people keep as they keep code: one file of JSON lines, a journal beside it,
undo, history and merging. Needs no JAX."""
