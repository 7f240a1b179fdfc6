"""Rules of the code that a reader relies on: data flows one way, every config field is read, every
config resolves."""

import ast
import re
from pathlib import Path

import pytest

from configs import common
from serac_jax.core.errors import UserError
from serac_jax.training.run_folder import as_json, flat
from tests.conftest import ROOT

# A module may import from those on its left, and from its own level.
LEVELS = (
    ("errors", "types", "process"),
    ("store",),
    ("batch",),
    ("memory",),
    ("losses",),
    ("metrics",),
    ("sharding",),
    ("models",),
    ("tasks",),
    ("editors",),
    ("experiment",),
    ("training",),
    ("ahead",),
    ("cli", "checkpoints", "hosts"),
    ("workdir",),
    ("progress", "report"),
    ("live",),
    ("export", "import_archive", "download", "aot", "table", "mini"),
    ("shell",),
    ("__main__",),
)
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}
SOURCES = sorted((ROOT / "serac_jax").rglob("*.py"))


def imports(file: Path) -> set[str]:
    """Parts of this package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] == "serac_jax"
        ):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            found |= {
                alias.name.split(".")[1]
                for alias in node.names
                if alias.name.startswith("serac_jax.")
            }
    return found


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nobody_imports_upward(file):
    part = file.relative_to(ROOT / "serac_jax").parts[0].removesuffix(".py")
    if part != "__init__":
        assert {name for name in imports(file) if LEVEL[name] > LEVEL[part]} == set()


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_package_needs_no_file_beside_it(file):
    """Only the package is installed, not configs/."""
    assert not re.search(
        r"^\s*(from|import) (configs|benchmarks|tests)\b", file.read_text(), re.MULTILINE
    )


def test_files_are_short():
    long = {
        str(file.relative_to(ROOT)): count
        for file in [*SOURCES, ROOT / "train.py", ROOT / "eval.py"]
        if (count := len(file.read_text().splitlines())) > 300
    }
    assert long == {}


def test_every_config_field_is_read_by_some_code():
    code = "".join(file.read_text() for file in [*SOURCES, ROOT / "train.py", ROOT / "eval.py"])
    for field in flat(as_json(common.get_config())):
        assert re.search(rf"\.{field.split('.')[-1]}\b", code), f"nothing reads {field}"


def test_every_config_field_says_what_it_means():
    for line in (ROOT / "configs" / "common.py").read_text().splitlines():
        if re.match(r"    config\.\w+\.\w+ = ", line):
            assert "  # " in line, line


@pytest.mark.parametrize(
    "file", sorted((ROOT / "configs").glob("*_*.py")), ids=lambda file: file.stem
)
def test_every_run_file_resolves_and_says_how_to_run_it(file):
    namespace: dict = {}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    for size in ("full", "mini"):
        assert (
            flat(as_json(namespace["get_config"](size))).keys()
            == flat(as_json(common.get_config())).keys()
        )
    assert f"--config=configs/{file.name}" in namespace["__doc__"]
    with pytest.raises(UserError, match="no variant :huge"):
        namespace["get_config"]("huge")


def test_the_first_commands_of_the_readme_exist():
    readme = (ROOT / "README.md").read_text()
    for file in re.findall(r"configs/(\w+\.py)", readme):
        assert (ROOT / "configs" / file).exists()
    for file in re.findall(r"(?:python|pytest) ([\w/]+\.py)", readme):
        assert (ROOT / file).exists()
