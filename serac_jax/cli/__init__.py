"""The memory from the shell: `python -m serac_jax COMMAND`, or `serac COMMAND` where the package is
installed. A command is a row of `table.COMMANDS`."""
