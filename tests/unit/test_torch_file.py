"""Files of `torch.save`: equal to what PyTorch reads, one tensor at a time, and nothing in them is
ever run."""

import os
import pickle
import tracemalloc
import zipfile
from collections import OrderedDict

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import T5Config

from serac_jax.models import DamagedFile, torch_file
from serac_jax.models.torch_file import Tensor, Unknown
from tests.conftest import MODELS


def saved(tmp_path, content):
    torch.save(content, tmp_path / "file.pt")
    return tmp_path / "file.pt"


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.uint8,
        torch.bool,
    ],
)
def test_every_type_of_number_is_read(tmp_path, dtype):
    tensor = (torch.arange(-6, 6).reshape(3, 4) * 0.37).to(dtype)
    ours = torch_file.load(saved(tmp_path, tensor)).read()
    assert ours.dtype == jnp.dtype(str(dtype).removeprefix("torch."))
    assert np.array_equal(ours.astype(np.float64), tensor.double().numpy())


def test_views_scalars_and_parameters_are_read(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "row": base[2],
        "turned": base.T,
        "inner": base[1:3, 2:5],
        "scalar": torch.tensor(3.5),
        "none": base[:0],
        "weight": torch.nn.Parameter(base),
    }
    ours = torch_file.load(saved(tmp_path, tensors))
    for name, tensor in tensors.items():
        assert ours[name].shape == tuple(tensor.shape)
        assert np.array_equal(ours[name].read(), tensor.detach().numpy()), name


def test_other_objects_stay_outside(tmp_path):
    content = {
        "step": 3,
        "stats": [1.5, "text"],
        "config": T5Config(d_model=8),
        "state": OrderedDict(a=torch.ones(2)),
        "size": torch.Size([1]),
    }
    ours = torch_file.load(saved(tmp_path, content))
    assert ours["step"] == 3
    assert ours["stats"] == [1.5, "text"]
    assert isinstance(ours["config"], Unknown)
    assert ours["config"].name.endswith("T5Config")
    assert ours["config"].state["d_model"] == 8
    assert isinstance(ours["state"]["a"], Tensor)


class Attack:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_runs_nothing(tmp_path, protocol):
    marker = tmp_path / "was-run"
    calls = [
        (os.system, f"touch {marker}"),
        (eval, f"open({str(marker)!r}, 'w')"),
        (exec, f"open({str(marker)!r}, 'w')"),
        (__import__, "antigravity"),
    ]
    content = {"weight": 1, **{str(number): Attack(*call) for number, call in enumerate(calls)}}
    file = tmp_path / "evil.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps(content, protocol))
    pickle.loads(pickle.dumps(Attack(os.system, f"touch {marker}")))
    assert marker.exists()  # PyTorch of old would have run it
    marker.unlink()
    ours = torch_file.load(file)
    assert not marker.exists()
    assert ours["weight"] == 1
    assert [ours[str(number)].name.rpartition(".")[2] for number in range(4)] == [
        "system",
        "eval",
        "exec",
        "__import__",
    ]


def test_damaged_files_are_named(tmp_path):
    file = saved(tmp_path, {"weight": torch.ones(100)})
    (tmp_path / "half.pt").write_bytes(file.read_bytes()[:500])
    with pytest.raises(DamagedFile, match=r"half.pt: is not a zip archive"):
        torch_file.load(tmp_path / "half.pt")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("note.txt", "hello")
    with pytest.raises(DamagedFile, match=r"other.zip: holds no data.pkl"):
        torch_file.load(tmp_path / "other.zip")
    for name, change in (("cut.pt", lambda data: data[:8]), ("broken.pt", lambda data: data)):
        with zipfile.ZipFile(file) as old, zipfile.ZipFile(tmp_path / name, "w") as new:
            for member in old.namelist():
                data = old.read(member)
                new.writestr(
                    member,
                    (
                        change(data)
                        if "/data/" in member
                        else (
                            data[:40]
                            if name == "broken.pt" and member.endswith("data.pkl")
                            else data
                        )
                    ),
                )
    with pytest.raises(
        DamagedFile,
        match=r"cut.pt: file/data/0 has 2 values, too few for a tensor of shape \(100,\)",
    ):
        torch_file.load(tmp_path / "cut.pt")["weight"].read()
    with pytest.raises(DamagedFile, match=r"broken.pt: its pickle cannot be read"):
        torch_file.load(tmp_path / "broken.pt")


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02Nr\xff\xff\xff\x07.",  # remember None at place 134,217,727
        b"Np134217727\n.",
        b"\x80\x05\x96\x00\x00\x00\x40\x00\x00\x00\x00.",  # a gigabyte of bytes
        b"\x80\x04\x8d\x00\x00\x00\x40\x00\x00\x00\x00.",  # a gigabyte of text
        b"\x80\x02\x8b\xff\xff\xff\x7f.",  # a number of 2 gigabytes
    ],
    ids=range(5),
)
def test_a_small_file_takes_little_memory(tmp_path, pickled):
    with zipfile.ZipFile(tmp_path / "file.pt", "w") as archive:
        archive.writestr("file/data.pkl", pickled)
    tracemalloc.start()
    with pytest.raises(DamagedFile, match=r"file.pt: its pickle cannot be read"):
        torch_file.load(tmp_path / "file.pt")
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


@pytest.mark.parametrize("member", ["data.pkl", "data/0"])
def test_what_is_packed_may_not_be_larger_than_the_file(tmp_path, member):
    file = saved(tmp_path, {"weight": torch.ones(100)})
    with zipfile.ZipFile(file) as old:
        content = {name: old.read(name) for name in old.namelist()}
    content[f"file/{member}"] += bytes(2**22)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in content.items():
            new.writestr(name, data)
    with pytest.raises(DamagedFile, match="than the whole file"):
        torch_file.load(file)["weight"].read()


def test_the_originals_fact_checker_is_read():
    ours, theirs = (
        torch_file.load(MODELS / "FC_model.ckpt"),
        torch.load(MODELS / "FC_model.ckpt", weights_only=True),
    )
    assert list(ours) == list(theirs)
    assert all(np.array_equal(ours[name].read(), theirs[name].numpy()) for name in theirs)
