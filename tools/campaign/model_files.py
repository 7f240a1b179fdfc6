"""Files of models, of editors and of checkpoints with damaged bytes."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from serac_jax.core.errors import UserError
from tools.campaign.fuzzing import damaged
from tools.campaign.readers import ASSETS

LOADED = 12  # folders of a trial
RESTORED = 6  # checkpoints of a trial


def tensors() -> dict[str, np.ndarray]:
    """Two small weights."""
    return {"a.weight": np.ones((3, 4), np.float32), "b.bias": np.arange(5, dtype=np.float32)}


@cache
def SAFETENSORS() -> list[bytes]:  # noqa: N802 (a constant that is made when it is first used)
    """Files of safetensors."""
    from safetensors.numpy import save

    return [save(tensors()), save(tensors(), metadata={"format": "pt"})]


def safetensors(data: bytes, folder: Path) -> None:
    """A file of safetensors: every tensor in it."""
    from serac_jax.models import convert

    (folder / "model.safetensors").write_bytes(data)
    for read in convert.read_safetensors(folder / "model.safetensors").values():
        read()


@cache
def GGUF() -> list[bytes]:  # noqa: N802
    """A small GGUF file with metadata of every kind, and a quantised tensor."""
    import gguf

    with tempfile.TemporaryDirectory() as folder:
        writer = gguf.GGUFWriter(file := Path(folder) / "small.gguf", "llama")
        writer.add_block_count(1)
        writer.add_rope_freq_base(10_000.0)
        writer.add_token_list(["<s>", "a", "ü"])
        writer.add_add_bos_token(True)
        for name, array in tensors().items():
            writer.add_tensor(name, array)
        kind = gguf.GGMLQuantizationType.Q8_0
        packed = gguf.quantize(np.ones((2, 32), np.float32), kind)
        writer.add_tensor("c.weight", packed, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return [file.read_bytes()]


def gguf_file(data: bytes, folder: Path) -> None:
    """A GGUF file: its metadata, and every tensor in it."""
    from serac_jax.models import gguf_file as reader
    from serac_jax.models.network import WeightError

    (folder / "model.gguf").write_bytes(data)
    header = reader.read_header(folder / "model.gguf")
    problems = list[UserError]()
    for name in header.tensors:
        try:
            header.read(name)
        except (UserError, WeightError) as error:
            problems.append(error)
    if problems:
        raise problems[0]


def with_damage(rng: Random, whole: Path, folder: Path) -> Path:
    """Copies a folder, damages one of its files, and returns that file."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    return damage_one(rng, folder)


def damage_one(rng: Random, folder: Path) -> Path:
    """Damages a file that is anywhere in a folder, and returns it."""
    file = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    content = file.read_bytes()
    if rng.random() < 0.1:
        file.unlink()
    else:
        front = content[:2000] if rng.random() < 0.5 else content  # headers are in front
        file.write_bytes(damaged(rng, [front]) + content[len(front) :])
    return file


def read_or_refused(use: Callable[[], object], file: Path) -> None:
    """What is damaged is read, or refused in one line."""
    told = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use()
    except UserError as error:
        told = str(error)
    except Exception as error:
        error.add_note(f"for {file.name}")
        raise
    assert "\n" not in told, f"{told!r} for {file.name}"
    assert len(told) < 2000, f"an error of {len(told)} letters for {file.name}"


FOLDERS = {"scope": "mean", "base": "", "sent_base": "", "fnli_base": "head"}  # and their output


def model_folders(rng: Random, folder: Path) -> int:
    """Damages a file of a shipped model's folder, and loads it.

    Returns:
        The number of folders.
    """
    from serac_jax import models

    for _ in range(LOADED):
        name = rng.choice(list(FOLDERS))
        file = with_damage(rng, ASSETS / "models" / name, folder / "model")

        def use(name: str = name) -> None:
            model, _ = models.load(
                str(folder / "model"), output=FOLDERS[name], place=lambda path, leaf: leaf
            )
            model.tokenizer.decode(model.tokenizer("Hello there!")["input_ids"])

        read_or_refused(use, file)
    return LOADED


@cache
def adapted() -> Any:
    """A shipped model, and the weights that an adapter of it changes."""
    from serac_jax import models

    return models.load("mini/base", place=lambda path, leaf: leaf)


def adapter_folders(rng: Random, folder: Path) -> int:
    """Damages a file of an adapter, and reads it for the network that it was written for.

    Returns:
        The number of folders.
    """
    import jax

    from serac_jax.models import adapters

    model, params = adapted()
    adapter = adapters.init(jax.random.key(0), params, (r"encoder/.*/[qv]",), 2)
    adapters.write(folder / "whole", model, adapter, "mini/base")
    for _ in range(LOADED):
        file = with_damage(rng, folder / "whole", folder / "adapter")
        read_or_refused(lambda: adapters.read(folder / "adapter", model, params), file)
    return LOADED


def checkpoints(rng: Random, folder: Path) -> int:
    """Damages a file of the newest checkpoint of a run. What is restored is what was saved, of that
    checkpoint or of the one before it.

    Returns:
        The number of checkpoints.
    """
    from tests.saved_states import restored, saved

    whole = saved(folder / "whole", 4, 6)
    for _ in range(RESTORED):
        shutil.rmtree(folder / "run", ignore_errors=True)
        shutil.copytree(whole, folder / "run")
        newest = folder / "run" / "checkpoints" / "6"
        for _ in range(rng.choice((1, 1, 3))):
            damage_one(rng, newest)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert restored(folder / "run") in (4, 6)  # which compares every number
    return RESTORED
