"""Changes the program in small ways, and asks the tests whether they notice.

    python tools/mutants.py --count 100 --seed 0  a sample over core, editors, edits, index, serving
    python tools/mutants.py --count 10 --only serac_jax/edits/

Each mutant is one change of one place: a comparison turned round, `and` for `or`, a number or a
truth value changed, an operator or two arguments exchanged, a statement or a `not` removed. The
tests that concern its module run on a copy of the repository, the nearest first. A mutant that none
of them fails survives, and is printed as a difference. Exit status 1: some survived."""

from __future__ import annotations

import argparse
import ast
import copy
import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("core", "editors", "edits", "index", "serving")
COPIED = ("serac_jax", "tests", "configs", "tools", "benchmarks", "scripts", "notebooks", "docs")
Node = ast.expr | ast.stmt
COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
# The tests of a folder, the nearest first; those named as the module come before them.
CONCERNED = {
    "core": "unit/test_batch unit/test_losses unit/test_metrics unit/test_sharding"
    " laws/test_editors",
    "editors": "unit/test_lookup unit/test_finetune unit/test_mend laws/test_editors",
    "edits": "unit/test_store unit/test_store_files unit/test_store_merge laws/test_store_laws"
    " unit/test_cli_edits",
    "index": "unit/test_index unit/test_service",
    "serving": "unit/test_service unit/test_index unit/test_cli_answering unit/test_trained_run",
}


def mutations(tree: ast.Module) -> Iterator[tuple[Node, ast.expr | None]]:
    """Every node that can be changed, and what takes its place; None: the statement goes."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, Node))
    for node in nodes:
        changed = copy.deepcopy(node)
        match changed:
            case ast.Compare(ops=[operator]) if type(operator) in COMPARED:
                changed.ops = [COMPARED[type(operator)]()]
                yield node, changed
            case ast.BoolOp():
                changed.op = ast.Or() if isinstance(changed.op, ast.And) else ast.And()
                yield node, changed
            case ast.BinOp() if type(changed.op) in COMPUTED and not is_type(changed):
                changed.op = COMPUTED[type(changed.op)]()
                yield node, changed
            case ast.UnaryOp(op=ast.Not()):
                yield node, changed.operand
            case ast.Constant(value=bool()):
                changed.value = not changed.value
                yield node, changed
            case ast.Constant(value=int() | float() as number):
                changed.value = number + 1
                yield node, changed
            case ast.Call(args=[first, second, *rest]) if not rest:
                changed.args = [second, first]
                yield node, changed
            case ast.Expr(value=ast.Call()) | ast.AugAssign():
                yield node, None
            case ast.IfExp():
                changed.body, changed.orelse = changed.orelse, changed.body
                yield node, changed


def is_type(node: ast.BinOp) -> bool:
    """Whether an expression is a union of types, which nothing computes."""
    if not isinstance(node.op, ast.BitOr):
        return False
    words = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
    return (
        any(word[0].isupper() or word in ("str", "int", "bool") for word in words)
        or None in texts
        or any(isinstance(text, str) for text in texts)
    )


def mutants(file: Path) -> list[tuple[int, str]]:
    """The line that is changed and the file's text, for every mutant of a file."""
    text = file.read_text()
    tree = ast.parse(text)
    annotations = {
        inner
        for node in ast.walk(tree)
        for field in ("annotation", "returns")
        if (found := getattr(node, field, None)) is not None
        for inner in ast.walk(found)
    }
    lines = text.splitlines(keepends=True)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line.encode()))
    data, found = text.encode(), []
    for node, changed in mutations(tree):
        if node in annotations:
            continue
        start = offsets[node.lineno - 1] + node.col_offset
        end = offsets[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        new = "pass" if changed is None else ast.unparse(ast.fix_missing_locations(changed))
        if changed is not None and isinstance(node, ast.expr):
            new = f"({new})"
        mutant = (data[:start] + new.encode() + data[end:]).decode()
        try:
            ast.parse(mutant)
        except SyntaxError:
            continue
        found.append((node.lineno, mutant))
    return found


def tests_of(file: Path) -> list[str]:
    """The test files that concern a module, the nearest first."""
    parts = file.relative_to(ROOT / "serac_jax").parts
    named = sorted((ROOT / "tests").rglob(f"test_{file.stem}*.py"))
    named += sorted((ROOT / "tests").rglob(f"test_{parts[1].removesuffix('.py')}*.py"))
    listed = [ROOT / "tests" / f"{name}.py" for name in CONCERNED[parts[0]].split()]
    kept = dict.fromkeys(path for path in [*named, *listed] if path.exists())
    return [str(path.relative_to(ROOT)) for path in kept]


def killed(folder: Path, tests: list[str], patience: float) -> str | None:
    """The test file that fails first, or None."""
    for test in tests:
        command = [
            sys.executable,
            "-m",
            "pytest",
            test,
            "-n0",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
        ]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, timeout=patience, check=False
            )
        except subprocess.TimeoutExpired:
            return f"{test} (no end)"
        if done.returncode not in (0, 5):  # 5: all of its tests are slow
            return test
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="mutants in the sample")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", default="", help="files whose path begins so")
    parser.add_argument("--skip", type=int, default=0, help="leave out the first so many")
    parser.add_argument("--patience", type=float, default=900, help="seconds a test file may take")
    arguments = parser.parse_args()
    pool = [
        (file, line, text)
        for folder in FOLDERS
        for file in sorted((ROOT / "serac_jax" / folder).rglob("*.py"))
        if str(file.relative_to(ROOT)).startswith(arguments.only)
        for line, text in mutants(file)
    ]
    sample = random.Random(arguments.seed).sample(pool, min(arguments.count, len(pool)))
    print(f"{len(sample)} of {len(pool)} mutants, seed {arguments.seed}", flush=True)
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        folder = Path(place)
        for name in COPIED:
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        for file in ROOT.glob("*.*"):
            if file.is_file():
                shutil.copy(file, folder)
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        for number, (file, line, text) in enumerate(sample[arguments.skip :], arguments.skip + 1):
            path = file.relative_to(ROOT)
            since = time.monotonic()
            (folder / path).write_text(text)
            by = killed(folder, tests_of(file), arguments.patience)
            shutil.copy(file, folder / path)
            spent = time.monotonic() - since
            verdict = f"killed by {by}" if by else "SURVIVED"
            print(f"{number:>4} {path}:{line} {verdict} ({spent:.0f} s)", flush=True)
            if not by:
                survivors += 1
                old, new = file.read_text().splitlines(), text.splitlines()
                print(
                    *list(difflib.unified_diff(old, new, lineterm="", n=0))[2:],
                    sep="\n",
                    flush=True,
                )
    print(f"{survivors} of {len(sample) - arguments.skip} survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
