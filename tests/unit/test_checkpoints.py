"""Checkpoints on a hostile day: damage, full disks, kills between two saves."""

import json
import shutil
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from serac_jax.core import sharding
from serac_jax.core.errors import UserError
from serac_jax.training import checksums
from serac_jax.training.checkpoints import Checkpoints, DamagedCheckpoint, UnsavedCheckpoint, brief
from tests import damage
from tests.saved_states import Data, restored, saved, state
from tests.tiers import fast

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def steps_on_disk(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


@pytest.mark.parametrize("way", fast(damage.WAYS, [damage.flip, damage.half]))
def test_a_run_goes_on_from_the_newest_checkpoint_that_is_whole(tmp_path, way):
    saved(tmp_path, 2, 4, 6)
    assert steps_on_disk(tmp_path) == [4, 6]
    way(tmp_path / "checkpoints" / "6")
    with pytest.warns(DamagedCheckpoint) as told:
        assert restored(tmp_path) == 4
    (message,) = (str(one.message) for one in told)
    assert message.startswith(f"the checkpoint of step 6 in {tmp_path}/checkpoints is damaged (")
    assert message.endswith("); that of step 4 is used instead")
    assert "\n" not in message
    assert (tmp_path / "damaged" / "6").is_dir()
    saved(tmp_path, 6)  # where the damaged one was
    assert restored(tmp_path) == 6


@pytest.mark.parametrize("item", ["data", "loop", "checksums"])
def test_a_changed_number_beside_the_arrays_is_damage(tmp_path, item):
    """Still JSON, so that only its checksum can tell."""
    saved(tmp_path, 4, 6)
    file = tmp_path / "checkpoints" / "6" / item / "metadata"
    text = file.read_text()
    digit = next(place for place, letter in enumerate(text) if letter.isdigit())
    file.write_text(text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :])
    with pytest.warns(DamagedCheckpoint, match="differs from what was saved"):
        assert restored(tmp_path) == 4


@pytest.mark.slow
def test_any_changed_byte_is_noticed_or_harmless(tmp_path):
    """Each time in another file of the checkpoint."""
    rng = np.random.default_rng(5)
    whole = saved(tmp_path / "whole", 4, 6)
    for number, file in enumerate(damage.files_of(whole / "checkpoints" / "6")):
        workdir = shutil.copytree(whole, tmp_path / str(number))
        content = bytearray(file.read_bytes())
        for _ in range(min(4, len(content))):
            content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        (workdir / file.relative_to(whole)).write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamagedCheckpoint)
            assert restored(workdir) in (4, 6)  # which compares every number


@pytest.mark.parametrize("text", ["3", "[]", '{"item_handlers": [1]}', '{"custom_metadata": "x"}'])
def test_a_damaged_description_of_a_checkpoint_changes_nothing(tmp_path, text):
    """Of which its numbers are not a part; a run goes on from it, and saves."""
    saved(tmp_path, 4, 6)
    for step in (4, 6):
        (tmp_path / "checkpoints" / str(step) / "_CHECKPOINT_METADATA").write_text(text)
    assert restored(tmp_path) == 6
    saved(tmp_path, 8)
    assert restored(tmp_path) == 8
    assert steps_on_disk(tmp_path) == [6, 8]


def test_no_whole_checkpoint_is_one_line_that_says_what_to_do(tmp_path):
    saved(tmp_path, 4, 6)
    for step in (4, 6):
        damage.empty(tmp_path / "checkpoints" / str(step))
    with pytest.raises(UserError, match=r"no checkpoint in .* is whole .*delete the folder to"):
        restored(tmp_path)
    assert steps_on_disk(tmp_path) == [4, 6]


def test_a_damaged_best_checkpoint_is_passed_over_when_a_run_is_read(tmp_path):
    saved(tmp_path, 2, 4, 6, best=2)
    assert steps_on_disk(tmp_path) == [2, 4, 6]
    assert Checkpoints(tmp_path).best_params(state(0).params)[0] == 2
    damage.flip(tmp_path / "checkpoints" / "2")
    with pytest.warns(DamagedCheckpoint, match="step 2 .* that of step 6 is used instead"):
        step, params = Checkpoints(tmp_path).best_params(state(0).params)
    assert step == 6
    assert bool((params["kernel"] == state(6).params["kernel"]).all())
    assert steps_on_disk(tmp_path) == [2, 4, 6]  # only who trains moves them


def test_the_best_checkpoint_outlives_a_restart(tmp_path):
    """What was best before a run was killed is still known and kept when it goes on."""
    saved(tmp_path, 2, 4, best=2)
    found = Checkpoints(tmp_path)
    _, loop = found.restore_or_start(state(0), Data(), "")
    for step in (6, 8, 10):
        found.save(state(step), Data(step), loop)
    found.close()
    assert steps_on_disk(tmp_path) == [2, 8, 10]
    assert Checkpoints(tmp_path).best_params(state(0).params)[0] == 2


def test_a_checkpoint_of_a_version_without_checksums_opens(tmp_path):
    saved(tmp_path, 4)
    shutil.rmtree(tmp_path / "checkpoints" / "4" / "checksums")
    assert restored(tmp_path) == 4


def test_what_a_killed_save_left_is_removed_by_who_trains(tmp_path):
    saved(tmp_path, 4)
    rest = tmp_path / "checkpoints" / "6.orbax-checkpoint-tmp"
    rest.mkdir()
    Checkpoints(tmp_path).best_params(state(0).params)
    assert rest.exists()
    assert restored(tmp_path) == 4
    assert not rest.exists()


def test_a_full_disk_is_one_line_and_the_run_goes_on(tmp_path, monkeypatch):
    saved(tmp_path, 4)
    found = Checkpoints(tmp_path)
    found.restore_or_start(state(0), Data(), "")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.warns(UnsavedCheckpoint, match=r"step 6 .*0\.0 MB left\); that of step 4 stands"):
        found.save(state(6), Data(6), {"validated": 6})
    with pytest.raises(UserError, match=r"not saved in .*; make room, and run the same command"):
        found.close()
    assert restored(tmp_path) == 4
    monkeypatch.undo()
    found = Checkpoints(tmp_path)
    found.restore_or_start(state(0), Data(), "")
    found.save(state(8), Data(8), {"validated": 8})
    found.close()
    assert restored(tmp_path) == 8


def test_a_disk_that_fills_up_during_a_save_is_one_line(tmp_path, monkeypatch):
    """What the library raises, later and of another kind, when it cannot write."""
    saved(tmp_path, 4)
    found = Checkpoints(tmp_path)
    found.restore_or_start(state(0), Data(), "")
    found.save(state(6), Data(6), {"validated": 6})
    full = ValueError("RESOURCE_EXHAUSTED: Error writing local file: No space left on device")

    def failing():
        raise full

    wait = found.manager.wait_until_finished
    wait()
    shutil.rmtree(tmp_path / "checkpoints" / "6")
    monkeypatch.setattr(found.manager, "wait_until_finished", failing)
    with pytest.warns(UnsavedCheckpoint, match="step 6 .*No space left on device.* step 4 stands"):
        found.save(state(8), Data(8), {"validated": 8})
    found.close()
    assert restored(tmp_path) == 8


@pytest.mark.parametrize(
    "said",
    [
        """Error writing "/runs/1/manifest": File too large [os_error_code='27']""",
        """File too large [tensorstore_spec='{"context":{}, "path": "/runs/1"}']""",
        """Error writing "/runs/1": File too large [tensorstore_spec='{}'] [os_error_code='27']""",
    ],
)
def test_of_what_the_library_says_the_reason_is_told(said):
    """Which of its notes follow depends on when a write fails."""
    assert brief(ValueError(said)) == "File too large"


def test_a_validated_step_replaces_its_own_checkpoint(tmp_path):
    """A signal may end a run between a step and its validation."""
    found = Checkpoints(tmp_path)
    for validated in (0, 4):
        found.save(state(4), Data(4), {"validated": validated})
    found.close()
    assert restored(tmp_path) == 4


def test_checksums_are_the_same_on_any_number_of_devices():
    mesh = sharding.make_mesh(data=2, fsdp=2, model=2)
    values = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    whole = checksums.of_arrays({"a": jnp.asarray(values)})
    for spec in (P("data", "model"), P("model"), P(None, ("data", "fsdp"))):
        split = jax.device_put(values, NamedSharding(mesh, spec))
        assert checksums.of_arrays({"a": split}) == whole


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "uint8", "bool"])
def test_checksums_notice_one_bit_and_an_exchange(dtype):
    values = np.array([[0, 1], [1, 0]]).astype(jnp.dtype(dtype))
    whole = checksums.of_arrays([jnp.asarray(values)])
    flipped = values.copy()
    flipped[1, 0] = 0
    turned = values[::-1].copy()
    for other in (flipped, turned):
        assert checksums.of_arrays([jnp.asarray(other)]) != whole
    assert checksums.difference(whole, whole) == ""
    assert checksums.difference({}, whole) == "0"


def test_json_has_one_checksum_before_and_after_it_was_written():
    value = {"b": (1, 2.5), "a": {10: None, 2: "x"}}
    assert checksums.of_json(value) == checksums.of_json(json.loads(json.dumps(value)))
    assert checksums.of_json(value) != checksums.of_json(value | {"b": [1, 2.6]})
