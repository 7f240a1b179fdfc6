"""Facts, and the questions that test an edit of them, in the interchange form of JSON lines.

Importing this package, `fact_rows`, `fact_kinds`, `held_facts` or the converters needs no JAX.
"""
