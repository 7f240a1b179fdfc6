"""README and docs say what is there: links, commands, options and imports exist, and sessions that
need no model print what the page shows."""

import ast
import importlib
import importlib.util
import json
import re
from pathlib import Path

import pytest

from serac_jax import presets
from serac_jax.cli.commands import ROWS
from serac_jax.cli.main import parser
from serac_jax.presets.experiments import EXPERIMENTS
from serac_jax.presets.methods import METHODS
from serac_jax.training.sections import FIELDS
from tests.conftest import ROOT
from tests.doc_blocks import NEEDS_A_MODEL, PAGES, blocks, run_console, same_output

LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def test_lines_of_pages_are_at_most_100_columns():
    """Except rows of tables, which cannot be broken; README has none that long."""
    long = [
        f"{page.name}:{number}"
        for page in PAGES
        for number, line in enumerate(page.read_text().splitlines(), 1)
        if len(line) > 100 and (page.name == "README.md" or not line.startswith("|"))
    ]
    assert long == []
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


def test_links_lead_somewhere():
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in PAGES
        for link in LINK.findall(page.read_text())
        if not (page.parent / link).exists()
    ]
    assert broken == []


def test_python_without_output_compiles_and_imports():
    for block in blocks("python"):
        if ">>>" in block.text:
            continue
        for node in ast.walk(ast.parse(block.text, block.where)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names), block.where


def test_json_parses():
    for block in blocks("json"):
        json.loads(block.text)


def commands() -> list[tuple[str, str]]:
    """Every command line of the pages, with its place."""
    found = []
    for block in blocks("bash", "console", ""):
        text = block.text.replace("\\\n", " ").replace("&&\n", "&& ")
        for line in text.splitlines():
            if block.language == "console" and not line.startswith("$ "):
                continue
            line = re.sub(r"\s+#.*", "", line.removeprefix("$ "))
            found += [(block.where, part.strip()) for part in re.split(r"&&|\|", line)]
    return found


def options_of(name: str) -> set[str] | None:
    """The options of a command; None where it reads its command line by itself."""
    command = ROWS[name].load()
    if command.arguments is None:
        return None
    one = parser("serac").commands.choices[name]
    one.fill()
    return {option for action in one._actions for option in action.option_strings}


def test_commands_and_their_options_exist():
    for where, line in commands():
        if not (match := re.match(r"(?:\w+=\S+ )*(?:serac|python -m serac_jax) ([a-z-]+)", line)):
            continue
        assert match[1] in ROWS, f"{where}: {line}"
        for option in re.findall(r" (--?[a-z][\w-]*)(?=[ =]|$)", line):
            known = options_of(match[1])
            assert known is None or option in known, f"{where}: {option} in {line}"


def test_config_fields_of_commands_exist():
    named = [
        (where, field.removeprefix("config."))
        for where, line in commands()
        for field in re.findall(r" --((?:\w+\.)+\w+)", line)
    ]
    assert [found for found in named if found[1] not in FIELDS] == []
    assert len(named) > 20


def test_programs_and_files_of_commands_exist():
    for where, line in commands():
        for module in re.findall(r"python -m ((?:serac_jax|benchmarks|tests|tools)[\w.]*)", line):
            assert importlib.util.find_spec(module), f"{where}: {module}"
        for file in re.findall(r"(?<![\w/=])((?:configs|scripts|tests)/[\w/]+\.\w+)", line):
            assert (ROOT / file).exists(), f"{where}: {file}"
        for file in re.findall(r"--config=(configs/\w+\.py)|-r (requirements\S*)", line):
            assert all((ROOT / name).exists() for name in file if name), f"{where}: {file}"


@pytest.mark.parametrize(
    "page",
    sorted(
        page
        for page in {block.page for block in blocks("console")}
        if not any(
            word in block.text
            for block in blocks("console")
            if block.page == page
            for word in NEEDS_A_MODEL
        )
    ),
)
def test_sessions_without_a_model_are_what_happens(page, tmp_path):
    wanted = "".join(block.text for block in blocks("console") if block.page == page)
    got = run_console(wanted, tmp_path)
    assert same_output(wanted, got), got


def test_the_site_lists_every_page():
    nav = Path(ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f" {page.relative_to(ROOT / 'docs')}\n" in nav


def test_the_page_of_config_fields_has_every_preset():
    page = (ROOT / "docs" / "reference" / "config.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", page, re.MULTILINE))
    assert [*rows] == [*EXPERIMENTS, *METHODS]
    for name in EXPERIMENTS:
        config = presets.preset(f"{name}_rep")
        assert f"`{config.base.name}`" in rows[name]
        assert rows[name].endswith(f"| {config.train.edits} ")
    of_the_paper = {
        f"{experiment}_{method}"
        for experiment in ("zsre", "zsre_hard", "fnli", "sent")
        for method in ("rep", "rp", "gtn", "enn", "lu", "ft")
    }
    assert {file.stem for file in (ROOT / "configs").glob("*.py")} == of_the_paper | {"facts_serac"}
