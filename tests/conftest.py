"""Every test runs on 8 fake devices, with strict dtypes and ranks, and with warnings as errors
(pyproject.toml)."""

import atexit
import gc
import importlib.util
import os
import shutil
import tempfile
import typing
from collections.abc import Iterator
from pathlib import Path

import flax.linen.linear
import jax
import pytest
from absl import flags
from jaxtyping import install_import_hook

from tests import compiled

# Arguments and results must be what their annotations say, shapes included. In this process only:
# those that tests start run the program as users do.
CHECKED = (
    *("core.batch", "core.losses", "core.metrics", "editors", "models"),
    *("index.blocked", "index.device_search", "index.distance", "index.host_search"),
)
typing.runtime_checkable(flax.linen.linear.PromoteDtypeFn)  # of a field of nn.Embed
install_import_hook(
    [f"serac_jax.{folder}" for folder in CHECKED],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",  # an int is a float
)

# The tests of the web page need a browser, which pip alone does not install.
collect_ignore = [] if importlib.util.find_spec("playwright") else ["slow/test_page.py"]

# of this process, for what is made before there is a fixture
TEMPORARY = Path(tempfile.mkdtemp(prefix="serac-jax-tests-"))
atexit.register(shutil.rmtree, TEMPORARY)

# Tiny models compile longer than they run, here and in the processes that tests start: without
# emitters of fused loops, half as long.
os.environ["XLA_FLAGS"] = (
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
jax.config.update("jax_disable_most_optimizations", True)

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update(
    "jax_cpu_enable_async_dispatch", False
)  # programs that overlap on fake devices can wait for one another forever
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(TEMPORARY / "compiled"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
# Processes that tests start find what one another compiled. They may be killed while they write,
# so that theirs are not published.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(TEMPORARY / "started")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
flags.FLAGS.mark_as_parsed()  # grain's worker processes read flags

ROOT = Path(__file__).parent.parent
MODELS = Path(__file__).parent / "data" / "models"
ASSETS = ROOT / "serac_jax" / "assets"


def pytest_sessionstart() -> None:
    compiled.link(compiled.shared(), TEMPORARY / "compiled")
    compiled.link(compiled.shared(), TEMPORARY / "started")


def pytest_sessionfinish() -> None:
    compiled.tidy(compiled.shared())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is in tests/slow is slow."""
    for item in items:
        if (ROOT / "tests" / "slow") in item.path.parents:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """What is imported by now stays: looking for garbage in it takes a second of every file."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def programs_of_one_file() -> Iterator[None]:
    """Frees what a file's tests compiled, as all together takes gigabytes, and exchanges it with
    the other workers."""
    yield
    compiled.link(TEMPORARY / "compiled", compiled.shared())
    compiled.link(compiled.shared(), TEMPORARY / "compiled")
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session")
def models_folder() -> Path:
    """Tiny, randomly initialised Hugging Face models."""
    return MODELS
