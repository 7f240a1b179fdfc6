"""Comparison with numbers that the PyTorch original recorded: `python -m tests.parity --cases DIR
--models DIR`.

A case is a folder with arrays (npz) and a manifest (json) that says what was run: which editor,
options, models and batches. Everything is read from there, so any folder of cases of this form can
be compared. Tolerance of an array: 10 × the noise that NOISE.json records for its group, or 1e-5 of
its largest value, whichever is larger."""
