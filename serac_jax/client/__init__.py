"""An editor on another machine: what `serac serve` serves there, with the methods of a local one.
Imports neither JAX nor the server."""
