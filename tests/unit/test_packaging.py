"""What `pip install` installs is what the requirements files list."""

import re
import tomllib

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def listed(name):
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return {line for line in lines if line and line[0] != "-" and "python_version" not in line}


def test_the_extras_are_the_requirements_files():
    assert {*PROJECT["dependencies"], *EXTRAS["train"]} == listed("requirements.txt")
    for extra in ("serve", "cuda", "tpu", "dev"):
        assert set(EXTRAS[extra]) == listed(f"requirements-{extra}.txt")


def test_answering_needs_none_of_the_training_packages():
    names = {re.split(r"[\[><=]", found)[0] for found in PROJECT["dependencies"]}
    assert not names & {"transformers", "optax", "orbax-checkpoint", "grain", "matplotlib"}
