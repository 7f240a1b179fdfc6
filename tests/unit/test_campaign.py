"""The campaign tells what fails, with a seed that does so again."""

import json
import re
import sys
import types
from contextlib import nullcontext
from pathlib import Path
from random import Random

import pytest

from serac_jax.core.errors import UserError
from tests.conftest import ROOT
from tools.campaign import __main__ as program
from tools.campaign import fuzzing, guided, parts, workers


def test_a_failure_is_found_with_a_seed_that_does_so_again(monkeypatch, capsys):
    def third(rng: Random, folder: Path) -> int:
        assert not list(folder.iterdir())
        if rng.random() < 0.3:
            raise KeyError("lost")
        return 7

    monkeypatch.setitem(parts.PARTS, "third", third)

    def told(seed: int, trials: int) -> list[dict]:
        workers.work("third", seed, trials, 0)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    found = told(0, 20)
    failed = [one for one in found if "error" in one]
    assert 0 < len(failed) < 20
    assert all("KeyError: 'lost'" in one["error"] for one in failed)
    assert [one["tried"] for one in found if "error" not in one] == [7] * (20 - len(failed))
    again = told(failed[0]["seed"], 1)
    assert [one["error"] for one in again] == [failed[0]["error"]]


@pytest.mark.parametrize("said", [b"", b'{"seed": 3, "tr'])
def test_a_worker_that_hangs_or_dies_is_a_failure_and_the_next_seed_follows(monkeypatch, said):
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    code = f"import os, time; os.write(1, {said!r}); time.sleep(60)"
    monkeypatch.setattr(workers.sys, "executable", "/bin/sh")
    popen = workers.subprocess.Popen
    started = []

    def start(command, **how):
        started.append(next(word for word in command if word.startswith("--seed")))
        return popen(["python3", "-c", code] if said == b"" else ["false"], **how)

    monkeypatch.setattr(workers.subprocess, "Popen", start)
    result = workers.supervise("threads", 3, 2, 0)
    assert [failure.seed for failure in result.failures] == [3, 4]
    assert started == ["--seed=3", "--seed=4"]
    assert (result.trials, result.tried) == (2, 2)


def test_a_parser_that_lets_another_error_out_fails():
    def read(data: bytes, folder: Path) -> None:
        if b"NaN" in data:
            raise ValueError("NaN")
        if data != b'{"a": 1}':
            raise UserError("not right")

    with pytest.raises(ValueError, match="NaN") as raised:
        fuzzing.fuzzed(read, lambda: [b'{"a": 1}'])(Random(0), Path())
    assert "for b'" in raised.value.__notes__[0]


def test_damage_guided_by_coverage_needs_its_library_and_a_parser(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "atheris", None)
    with pytest.raises(SystemExit, match="2"):
        guided.main(["journals"])
    assert "pip install atheris" in capsys.readouterr().err

    class Found(types.ModuleType):
        """As much of atheris as a run needs."""

        instrument_imports = staticmethod(lambda include: nullcontext())

        def Setup(self, arguments, once):
            for sample in Path(arguments[-1]).iterdir():
                once(sample.read_bytes())
            once(b"no journal")
            self.ran = arguments[1]

        def Fuzz(self):
            pass

    monkeypatch.setitem(sys.modules, "atheris", found := Found("atheris"))
    assert guided.main(["journals", "--minutes=2"]) == 0
    assert found.ran == "-max_total_time=120"
    with pytest.raises(SystemExit):
        guided.main(["threads"])
    assert "there is no parser 'threads'" in capsys.readouterr().err


def test_the_table_and_the_status(monkeypatch, capsys):
    failure = workers.Failure("threads", 4, "AssertionError: x")
    results = iter(
        [
            workers.Result("threads", 3, 1_000, [failure], 50, 2.0),
            workers.Result("facts", 3, 3_000, [], 50, 2.0),
        ]
    )
    monkeypatch.setattr(workers, "supervise", lambda *_: next(results))
    assert program.main(["threads", "facts"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"threads +1,000 +999 +1 +3", out)
    assert "again: python -m tools.campaign threads --seed=4 --trials=1" in out
    monkeypatch.setattr(workers, "supervise", lambda *_: workers.Result("x", 1, 1, [], 1, 1.0))
    assert program.main(["facts"]) == 0
    with pytest.raises(SystemExit):
        program.main(["nothing"])


def test_every_test_that_the_page_about_reliability_names_exists():
    page = (ROOT / "docs" / "reliability.md").read_text()
    tests = {file.name: file.read_text() for file in (ROOT / "tests").rglob("test_*.py")}
    file = ""
    for named, test in re.findall(r"`(test_\w+\.py)?(?:::(test_\w+))?`", page):
        file = named or file
        if named or test:
            assert f"def {test}" in tests[file], (file, test)


def test_every_part_is_named_on_the_page_about_reliability():
    page = (ROOT / "docs" / "reliability.md").read_text()
    for name in parts.PARTS:
        assert f"`{name}`" in page
