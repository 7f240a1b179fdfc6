"""The rules of the code that a reader relies on, one test each: imports run downward, nothing
imports in a circle, names are unique, lines, functions and files are short, config fields are read.
"""

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from serac_jax.core.errors import UserError
from serac_jax.training import sections
from serac_jax.training.run_folder import as_json
from serac_jax.training.sections import flat
from tests.conftest import ROOT

PACKAGE = ROOT / "serac_jax"
# A folder may import from the folders before it. `edits` stands low because it needs no JAX;
# `index` stands below `editors` because a router searches an index.
ORDER = """core runtime edits text models index editors tasks training evaluation serving presets
    server client cli""".split()
LONGEST_LINE, LONGEST_FUNCTION, LONGEST_FILE = 100, 80, 400
# What answering questions imports none of: it would double the time of `serac ask`.
HEAVY = set(
    """grain huggingface_hub matplotlib ml_collections optax orbax tensorflow tensorflow_datasets
    torch tqdm transformers""".split()
)


def named(file: Path) -> str:
    """A module's dotted name without the package's; of a folder, that of the folder."""
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {named(file): ast.parse(file.read_text()) for file in sorted(PACKAGE.rglob("*.py"))}


def imports(tree: ast.Module) -> set[str]:
    """The package's modules that one imports: at its top, in functions and for types alone."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole.removeprefix("serac_jax.") in MODULES else node.module)
    inside = {name for name in found if name.split(".")[0] == "serac_jax"}
    return {name.removeprefix("serac_jax").removeprefix(".") or "__init__" for name in inside}


GRAPH = {name: imports(tree) for name, tree in MODULES.items()}


def lines_of(pattern: str) -> dict[Path, list[str]]:
    return {file: file.read_text().splitlines() for file in sorted(ROOT.glob(pattern))}


def test_imports_run_downward():
    level = {folder: number for number, folder in enumerate(ORDER)}
    upward = {
        (name, other)
        for name, others in GRAPH.items()
        for other in others
        if level.get(name.split(".")[0], len(ORDER)) < level.get(other.split(".")[0], len(ORDER))
    }
    assert upward == set()


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The sets of modules that reach one another."""
    reached = {name: set(others) & graph.keys() for name, others in graph.items()}
    for middle in graph:
        for others in reached.values():
            if middle in others:
                others |= reached[middle]
    return {
        frozenset(other for other in others if name in reached[other])
        for name, others in reached.items()
        if name in others
    }


def test_no_modules_import_each_other():
    assert circles(GRAPH) == set()


def test_every_folder_of_the_package_has_its_place_in_the_order():
    folders = {name.split(".")[0] for name in MODULES if "." in name}
    assert folders - {"assets"} <= set(ORDER)


def test_the_package_imports_nothing_that_is_not_installed_with_it():
    others = {"configs", "benchmarks", "tests", "tools", "train", "eval"}
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {module.split(".")[0] for module in found} & others, name


def test_the_store_of_edits_imports_no_jax():
    reached, rest = set(), [name for name in GRAPH if name.split(".")[0] == "edits"]
    while rest:
        reached.add(name := rest.pop())
        rest += [other for other in GRAPH.get(name, ()) if other not in reached]
    for name in reached:
        if name in MODULES:
            for node in ast.walk(MODULES[name]):
                found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                heavy = {"jax", "jaxlib", "flax", "optax", "jaxtyping"}
                assert not {module.split(".")[0] for module in found} & heavy, name


@pytest.mark.slow
def test_answering_imports_nothing_that_only_training_and_figures_need(tmp_path):
    code = f"""if True:
        import sys, serac_jax
        from serac_jax.cli.main import main
        editor = serac_jax.load("mini")
        editor.edit("Who wrote Dracula?", "Mary Shelley")
        assert editor.ask("Who wrote Dracula?").text == "Mary Shelley"
        memory = "--memory={tmp_path / "edits.json"}"
        for command in (["add", "Who wrote Dracula?", "Bram Stoker"], ["list"], ["ask", "Who?"]):
            assert main([memory, *command]) == 0
        print(*sys.modules)
    """
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert {"jax", "flax", "tokenizers"} <= (imported := set(process.stdout.split()))
    assert HEAVY & imported == set()


def test_no_two_modules_have_the_same_name():
    stems = Counter(name.split(".")[-1] for name in MODULES)
    assert {stem for stem, count in stems.items() if count > 1} == set()
    tests = Counter(file.stem for file in lines_of("tests/**/*.py") if file.stem[:2] != "__")
    assert {stem for stem, count in tests.items() if count > 1} == set()


def test_tests_share_helpers_and_not_one_another():
    for file, lines in lines_of("tests/**/*.py").items():
        for line in lines:
            assert not re.match(r"\s*(from|import) tests\.\w+\.test_", line), (file, line)


def test_lines_are_short():
    wide = defaultdict(list)
    for pattern in ("serac_jax/**/*.py", "configs/*.py", "*.py", "README.md"):
        for file, lines in lines_of(pattern).items():
            wide[str(file.relative_to(ROOT))] += [
                number for number, line in enumerate(lines, 1) if len(line) > LONGEST_LINE
            ]
    assert {file: numbers for file, numbers in wide.items() if numbers} == {}


def test_functions_are_short():
    long = {
        f"{name}.{node.name}"
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    }
    assert long == set()


def test_files_are_short():
    long = {
        named(file)
        for file, lines in lines_of("serac_jax/**/*.py").items()
        if len(lines) > LONGEST_FILE
    }
    assert long == set()


def test_only_one_module_prints():
    """`core.console` makes texts safe to print."""
    printing = {
        name
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
    }
    assert printing == {"core.console"}


WRITING = {"write_text", "write_bytes", "savefig", "save_file", "tofile", "copyfile"}


def writes(node: ast.AST) -> bool:
    """Whether a piece of code calls what opens a file to write it."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
    modes = {each.value for each in node.args if isinstance(each, ast.Constant)}
    opens = name == "open" and any(set("wax+") & set(str(mode)) for mode in modes)
    return opens or name in WRITING


def test_files_are_written_in_one_way():
    """By `core.files`, or where the new file is that its `replacing` gives."""
    others = set()
    for name, tree in MODULES.items():
        new = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.With) and "files.replacing(" in ast.unparse(block.items[0])
            for node in ast.walk(block)
        }
        for node in ast.walk(tree):
            if writes(node) and id(node) not in new and "os.devnull" not in ast.unparse(node):
                others.add((name, ast.unparse(node)))
    assert {other for other in others if other[0] != "core.files"} == set()


def test_lines_of_files_end_at_line_feeds_only():
    """`splitlines` ends them at U+2028 and form feeds too, which texts may have."""
    for name in MODULES:
        used = {getattr(node, "attr", "") for node in ast.walk(MODULES[name])}
        assert "splitlines" not in used, name


def test_every_config_field_is_read_by_some_code():
    files = [*PACKAGE.rglob("*.py"), ROOT / "train.py", ROOT / "eval.py"]
    code = "".join(file.read_text() for file in files)
    for field in flat(as_json(sections.defaults())):
        assert re.search(rf"\.{field.split('.')[-1]}\b", code), f"nothing reads {field}"


def test_every_config_field_says_what_it_means_and_accepts_its_default():
    for name, field in sections.FIELDS.items():
        assert field.meaning.strip(), name
    sections.check(sections.defaults())


def test_every_run_file_resolves_and_says_how_to_run_it():
    fields = flat(as_json(sections.defaults())).keys()
    for file in sorted((ROOT / "configs").glob("*_*.py")):
        namespace: dict = {}
        exec(compile(file.read_text(), str(file), "exec"), namespace)
        for size in ("full", "mini"):
            assert flat(as_json(namespace["get_config"](size))).keys() == fields, file
        assert f"--config=configs/{file.name}" in namespace["__doc__"], file
        with pytest.raises(UserError, match="no variant :huge"):
            namespace["get_config"]("huge")


def test_the_first_commands_of_the_readme_exist():
    readme = (ROOT / "README.md").read_text()
    for file in re.findall(r"configs/(\w+\.py)", readme):
        assert (ROOT / "configs" / file).exists()
    for file in re.findall(r"(?:python|pytest) ([\w/]+\.py)", readme):
        assert (ROOT / file).exists()
