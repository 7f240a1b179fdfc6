"""Changes the program in small ways, and asks the tests whether they notice.

    pytest -n0 -p tools.callers --callers /tmp/callers.json
    python tools/mutants.py /tmp/callers.json --count 100 --seed 0
    python tools/mutants.py /tmp/callers.json --count 10 --only serac_jax/edits/

Each mutant is one change of one place in core, editors, edits, index or serving: a comparison
turned round, `and` for `or`, a number or a truth value changed, an operator or two arguments
exchanged, a statement or a `not` removed. The tests that call the changed function run on a copy of
the repository, until one fails; the first command writes which these are. A mutant that none of
them notices survives, and is printed as a difference. Exit status 1: some survived."""

from __future__ import annotations

import argparse
import ast
import copy
import difflib
import json
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
Tests = dict[str, tuple[float, list[str]]]  # as tools/callers.py writes them


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
            case ast.Call(func=called, args=[first, second]) if not symmetric(called):
                changed.args = [second, first]
                yield node, changed
            case ast.Expr(value=ast.Call()) | ast.AugAssign():
                yield node, None
            case ast.IfExp():
                changed.body, changed.orelse = changed.orelse, changed.body
                yield node, changed


def symmetric(called: ast.expr) -> bool:
    """Whether a function gives the same for exchanged arguments."""
    return isinstance(called, ast.Name) and called.id in ("min", "max")


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


def function_at(file: Path, line: int) -> str | None:
    """The innermost function around a line, as callers.py names it; None: the module's own."""
    functions = [
        node
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    if not functions:
        return None
    first = min([functions[-1], *functions[-1].decorator_list], key=lambda node: node.lineno)
    return f"{file.relative_to(ROOT)}:{first.lineno}"


def tests_of(file: Path, line: int, tests: Tests, most: float) -> list[str]:
    """The tests that concern a line, the cheapest first, of at most so many seconds.

    These are the tests that call its function, then those that call another function of the file,
    then all others of these test files, which may reach it through what JAX has traced before. The
    first case of every test comes before all further cases."""
    function, module = function_at(file, line), f"{file.relative_to(ROOT)}:"
    calling = {test for test, (_, called) in tests.items() if function in called}
    near = {
        test
        for test, (_, called) in tests.items()
        if any(name.startswith(module) for name in called)
    }
    files = {test.partition("::")[0] for test in calling or near}
    seen: set[str] = set()
    ranked: list[tuple[bool, bool, bool, float, str]] = []
    for test, (seconds, _) in sorted(tests.items(), key=lambda item: item[1][0]):
        if test in near or test.partition("::")[0] in files:
            case = test.partition("[")[0] in seen
            seen.add(test.partition("[")[0])
            ranked.append((test not in calling, test not in near, case, seconds, test))
    chosen: list[str] = []
    for *_, seconds, test in sorted(ranked):
        most -= seconds
        if chosen and most < 0:
            break
        chosen.append(test)
    order = list(dict.fromkeys(test.partition("::")[0] for test in chosen))
    return sorted(chosen, key=lambda test: order.index(test.partition("::")[0]))


def killed(folder: Path, tests: list[str], patience: float) -> str | None:
    """The test that fails first, or None."""
    options = ["-n0", "-x", "-q", "-p", "no:cacheprovider", "--assert=plain"]
    command = [sys.executable, "-m", "pytest", *tests, *options]
    # No file of code is kept, which would hide a change within its second; compiled programs are,
    # but apart from those of other tests.
    home = {"PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | home,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "no end"
    if done.returncode == 0:
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0].split(" - ")[0].split(" ", 1)[1] if lines else "an error at the start"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("callers", type=Path, help="what tools/callers.py wrote")
    parser.add_argument("--count", type=int, default=100, help="mutants in the sample")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", default="", help="files whose path begins so")
    parser.add_argument("--skip", type=int, default=0, help="leave out the first so many")
    parser.add_argument("--most", type=float, default=30, help="CPU seconds of tests per mutant")
    parser.add_argument("--patience", type=float, default=600, help="seconds until one has no end")
    arguments = parser.parse_args()
    tests: Tests = json.loads(arguments.callers.read_text())
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
        for number, (file, line, text) in enumerate(sample[arguments.skip :], arguments.skip + 1):
            path = file.relative_to(ROOT)
            since = time.monotonic()
            (folder / path).write_text(text)
            chosen = tests_of(file, line, tests, arguments.most)
            by = killed(folder, chosen, arguments.patience)
            shutil.copy(file, folder / path)
            spent = time.monotonic() - since
            verdict = f"killed by {by}" if by else f"SURVIVED {len(chosen)} tests"
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
