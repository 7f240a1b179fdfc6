"""Runs the parts of the campaign, one after the other, each for an equal share of the time.

    python -m tools.campaign [PART …] [--minutes 10] [--seed 0]
    python -m tools.campaign PART --seed=17 --trials=1   # one trial again

It prints a table: what was tried, what held and what failed, with a seed for each failure. The exit
status is 1 where anything failed.
"""

from __future__ import annotations

import argparse
import sys

from tools.campaign import parts, workers


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line and returns its exit status."""
    about = (__doc__ or "").split("\n", 1)
    one = argparse.ArgumentParser(
        prog="python -m tools.campaign",
        description=about[0],
        epilog=about[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    one.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(parts.PARTS)}")
    one.add_argument("--minutes", type=float, default=10.0, help="for all parts together (10)")
    one.add_argument("--seed", type=int, default=0, help="of the first trial of each part (0)")
    one.add_argument("--trials", type=int, default=0, help="of each part, instead of a time")
    one.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = one.parse_args(arguments)
    if unknown := set(options.parts) - parts.PARTS.keys():
        one.error(f"there is no part {min(unknown)!r}; there are {', '.join(parts.PARTS)}")
    chosen = options.parts or list(parts.PARTS)
    seconds = 0.0 if options.trials else options.minutes * 60 / len(chosen)
    if options.worker:
        workers.work(chosen[0], options.seed, options.trials, seconds)
        return 0
    print(workers.HEAD, flush=True)
    results = []
    for name in chosen:
        results.append(workers.supervise(name, options.seed, options.trials, seconds))
        print(results[-1], flush=True)
    for result in results:
        for failure in result.failures:
            print(f"\n{failure.part}, seed {failure.seed}: {failure.error}")
            print(f"  again: python -m tools.campaign {failure.part} --seed={failure.seed}", end="")
            print(" --trials=1")
    return 1 if any(result.failures for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
