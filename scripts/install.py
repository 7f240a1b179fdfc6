"""Installs packages that are missing or too old, and downgrades none: for Colab and other shared
environments.

    python scripts/install.py

pip gets the installed version of every other package as a lower bound, and so fails instead of
downgrading it. If JAX is too old, it is installed together with the accelerator's plugin, since
their versions must match.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name
from pip._vendor.packaging.version import Version

ROOT = Path(__file__).parents[1]


def accelerator() -> str:
    """What the machine has besides its processor: "tpu", "cuda" or nothing."""
    if any(Path("/dev").glob("accel[0-9]*")) or any(Path("/dev/vfio").glob("[0-9]*")):
        return "tpu"
    return "cuda" if shutil.which("nvidia-smi") else ""


def read(file: Path) -> list[Requirement]:
    lines = [line.split("#")[0].strip() for line in file.read_text().splitlines()]
    found = [Requirement(line) for line in lines if line]
    return [asked for asked in found if asked.marker is None or asked.marker.evaluate()]


def there() -> dict[str, Version]:
    """The packages that are installed."""
    return {
        canonicalize_name(found.metadata["Name"]): Version(found.version)
        for found in metadata.distributions()
        if found.metadata["Name"]
    }


def missing(needed: Iterable[Requirement], installed: Mapping[str, Version]) -> list[Requirement]:
    """What is not installed, or not in a version that will do."""

    def will_do(asked: Requirement) -> bool:
        version = installed.get(canonicalize_name(asked.name))
        return version is not None and asked.specifier.contains(version, prereleases=True)

    return [asked for asked in needed if not will_do(asked)]


def floors(installed: Mapping[str, Version]) -> str:
    """Constraints by which pip makes nothing older."""
    return "".join(f"{name}>={version.public}\n" for name, version in sorted(installed.items()))


def main() -> None:
    installed, device = there(), accelerator()
    wanted = missing(read(ROOT / "requirements.txt"), installed)
    if device and any(asked.name == "jax" for asked in wanted):
        wanted += read(ROOT / f"requirements-{device}.txt")
    print(
        f"accelerator: {device or 'none'}; to install: {', '.join(map(str, wanted)) or 'nothing'}",
        flush=True,
    )
    if wanted:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
            constraints.write(floors(installed))
            constraints.flush()
            command = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--constraint",
                constraints.name,
                *map(str, wanted),
            ]
            sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
