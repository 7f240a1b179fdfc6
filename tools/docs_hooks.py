"""Hooks of mkdocs: links into the source tree, and pages generated from the programs.

Pages link to source files relative to themselves, as on GitHub; on the site these links point into
the repository. A line `<!-- generate: NAME -->` is replaced by what the function `NAME` returns."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from serac_jax.cli.commands import GROUPS, ROWS  # noqa: E402

OUTSIDE = re.compile(r"\]\((?:\.\./)+((?!\.\./)[\w./-]+)((?:#[\w-]+)?)\)")
MARKER = re.compile(r"<!-- generate: (\w+) -->")
SERAC = "import sys; sys.argv[0] = 'serac'; from serac_jax.cli.main import main; sys.exit(main())"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrites links that leave docs/, and fills in generated parts."""

    def link(match: re.Match[str]) -> str:
        target = match[0][2:-1].split("#")[0]
        found = (ROOT / "docs" / page.file.src_uri).parent / target
        path = Path(os.path.normpath(found))
        if path.is_relative_to(ROOT / "docs"):
            return match[0]
        if not path.exists():
            raise FileNotFoundError(f"{page.file.src_uri} links to {target}, which does not exist")
        view = "tree" if path.is_dir() else "blob"
        return f"]({config.repo_url}/{view}/main/{path.relative_to(ROOT)}{match[2]})"

    return MARKER.sub(lambda match: GENERATED[match[1]](), OUTSIDE.sub(link, markdown))


def serac(*arguments: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        [sys.executable, "-c", SERAC, *arguments],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "80"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"serac {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def cli() -> str:
    """The help of every command, by group."""
    with ThreadPoolExecutor() as pool:
        helps = dict(zip(ROWS, pool.map(lambda name: serac(name, "--help"), ROWS), strict=True))
    return "\n".join(
        f"## {title.capitalize()}\n\n"
        + "\n".join(f"### {row.name}\n\n```text\n{helps[row.name]}```\n" for row in rows)
        for title, rows in GROUPS.items()
    )


def config() -> str:
    """Every field of every section, with its default and meaning."""
    from serac_jax.training.sections import SECTIONS

    parts = []
    for name, fields in SECTIONS.items():
        parts += [f"### {name or 'run'}", "", "| field | default | meaning |", "|---|---|---|"]
        for field, found in fields.items():
            full = f"{name}.{field}" if name else field
            default = json.dumps(found.default, ensure_ascii=False).replace("|", "\\|")
            meaning = f"{found.meaning} ({found.rule.says})" if found.rule else found.meaning
            parts.append(f"| `{full}` | `{default}` | {meaning} |")
        parts.append("")
    return "\n".join(parts)


GENERATED: dict[str, Callable[[], str]] = {"cli": cli, "config": config}
