"""Ways in which a checkpoint can be damaged, given the folder of its step."""

import shutil

import numpy as np


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def truncate(folder):
    for file in files_of(folder):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(folder):
    for file in files_of(folder):
        file.write_bytes(b"")


def half(folder):
    for file in files_of(folder)[::2]:
        file.unlink()


def nothing(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def flip(folder):
    """16 bits of the largest file of parameters."""
    file = max(files_of(folder / "params"), key=lambda file: file.stat().st_size)
    content = bytearray(file.read_bytes())
    for place in np.random.default_rng(0).choice(len(content), 16, replace=False):
        content[place] ^= 1
    file.write_bytes(content)


WAYS = (truncate, empty, half, nothing, flip)
