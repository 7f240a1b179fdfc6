"""`python -m serac_jax COMMAND`: the memory from the shell."""

from serac_jax.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
