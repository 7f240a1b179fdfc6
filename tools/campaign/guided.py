"""Damage that is guided by coverage: `atheris` keeps inputs that take a new way through a parser.

    pip install atheris
    python -m tools.campaign.guided memory-files --minutes=10

Where a parser raises another error than `UserError`, the input is kept as crash-… in this folder,
and the exit status is not 0.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line. Where it finds nothing, the fuzzer itself ends the process."""
    one = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    one.add_argument("parser", help="a part of the campaign that reads inputs")
    one.add_argument("--minutes", type=float, default=10.0)
    options = one.parse_args(arguments)
    try:
        import atheris  # pyright: ignore[reportMissingImports]
    except ImportError:
        one.error("this needs atheris: pip install atheris")
    fuzzer: Any = atheris
    with fuzzer.instrument_imports(include=["serac_jax"]):
        from serac_jax.core.errors import UserError
        from tools.campaign.parts import PARSERS

        if options.parser not in PARSERS:
            one.error(f"there is no parser {options.parser!r}; there are {', '.join(PARSERS)}")
        read, samples = PARSERS[options.parser]
        folder, corpus = (Path(tempfile.mkdtemp(prefix="serac-jax-guided-")) for _ in range(2))
        for number, sample in enumerate(samples()):
            (corpus / str(number)).write_bytes(sample)
            read(sample, folder)  # which imports the rest of what has to be watched

    def once(data: bytes) -> None:
        with suppress(UserError):
            read(data, folder)

    seconds = max(round(options.minutes * 60), 1)
    fuzzer.Setup([sys.argv[0], f"-max_total_time={seconds}", "-timeout=60", str(corpus)], once)
    fuzzer.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
