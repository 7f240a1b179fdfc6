"""When a training run stops, and what it says then."""

import signal

import jax.numpy as jnp
import pytest

from serac_jax import presets
from serac_jax.core.errors import UserError
from serac_jax.tasks.sampling import require_rows
from serac_jax.text.queries import DataError
from serac_jax.training.loop import read_all
from serac_jax.training.progress import HOPELESS, Progress
from tests.tiny import config_of


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Makes the progress of a run with some fields of "train"; signals are left alone."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def made(step=0, skipped=0, loop=None, writers=(), **fields):
        train = presets.preset("zsre_rep:mini").train
        train.update({"steps": 1000, "val_every": 40, "log_every": 1} | fields)
        return Progress(train, tmp_path, list(writers), step, skipped, loop or {"validated": step})

    return made


def trained(progress, steps, skips):
    """Tells of steps; of those in `skips` the loss was not finite."""
    for step in steps:
        progress.since = step, 0.0  # no speed
        progress.skipped_now = getattr(progress, "skipped_now", progress.skipped) + (step in skips)
        one = jnp.float32(1)
        progress.trained(step, {"loss": (one, one)}, jnp.int32(progress.skipped_now))


@pytest.mark.parametrize("log_every", [1, 7, 1000])
def test_a_run_that_skips_every_batch_stops(begin, log_every):
    progress = begin(log_every=log_every)
    with pytest.raises(UserError, match=r"step \d+: the loss .* not finite in any of the last \d+"):
        trained(progress, range(1, 1001), range(1, 1001))


def test_a_short_run_that_skips_every_batch_does_not_end_well(begin):
    progress = begin(steps=5)
    with pytest.raises(UserError, match=r"step 5: .* any of the last 5 batches"):
        trained(progress, range(1, 6), range(1, 6))


@pytest.mark.parametrize("log_every", [1, 7])
def test_a_run_that_skips_some_batches_goes_on(begin, log_every):
    progress = begin(step=10, skipped=4, log_every=log_every)
    kept = {HOPELESS, 2 * HOPELESS - 20, 3 * HOPELESS - 40}
    trained(progress, range(11, 3 * HOPELESS), set(range(11, 3 * HOPELESS)) - kept)


def test_a_signal_after_the_last_step_changes_nothing(begin):
    progress = begin(steps=80, loop={"validated": 80})
    progress.on_signal(signal.SIGTERM, None)
    assert progress.finished(80) == "all steps done"
    assert progress.finished(60).startswith("stopped by a signal")


def test_a_validation_that_a_signal_ended_is_still_due(begin):
    progress = begin(step=40, loop={"validated": 0})
    assert progress.validation_is_due(40)
    assert not progress.finished(40)
    progress.validated(40, {"loss": 1.0})
    assert not progress.validation_is_due(40)
    assert progress.loop == {"validated": 40, "best_loss": 1.0, "best_step": 40}
    last = begin(step=1000, loop={"validated": 960})
    assert last.validation_is_due(1000)
    assert not last.finished(1000)


def test_a_log_that_cannot_be_written_is_one_line(begin):
    class Full:
        def write(self, step, scalars):
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"step 1: cannot write the log of .*No space left.*again"):
        trained(begin(writers=[Full()]), [1], [])


def test_a_split_that_is_too_small_is_named_with_its_field():
    with pytest.raises(UserError, match=r"split 'train' has 3 usable rows.* lower train.edits"):
        require_rows(3, 4, "train", True, True)
    with pytest.raises(UserError, match=r"split 'dev' has 3 .* \(in validation, train.edits\)"):
        require_rows(3, 3, "dev", False, True)


def test_a_row_that_a_validation_cannot_read_is_found_before_the_first_step():
    """Also the last of many, since no sizes are measured here."""

    class Task:
        class encode:  # noqa: N801
            lengths = None

        @staticmethod
        def batches(split, size, train, encode):
            assert (split, size, train) == ("dev", 4, False)
            for number in range(600):
                if number == 599:
                    raise DataError("row 600 is too long")
                yield number

    config = {"train.edits": 4, "data.val_split": "dev"}
    read_all(Task, config_of(**config | {"train.val_batches": 599}))
    with pytest.raises(DataError, match="row 600"):
        read_all(Task, config_of(**config | {"train.val_batches": 0}))
