"""Memory that a program freed is there for its next call."""

import subprocess
import sys

import pytest

TEMPORARY = 16384  # pages of 4 KiB
PROGRAM = """
import resource
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from serac_jax.runtime.allocator import give_back, keep_freed

kept = sys.argv[1] == "kept" and keep_freed()
step = jax.jit(lambda x: (jnp.tanh(x @ x.T) @ x).sum())  # a temporary of 64 MiB
x = jnp.ones((4096, 64))
for _ in range(3):
    step(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step(x).block_until_ready()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
if kept:
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    give_back()
    print(resident - int(Path("/proc/self/statm").read_text().split()[1]))
else:
    print(0)
"""


def measured(how: str) -> tuple[bool, int, int]:
    """Whether freed memory is kept, the pages that five calls took, and those given back."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        check=True,
        capture_output=True,
        text=True,
        env={"JAX_PLATFORMS": "cpu", "PATH": ""},
    )
    kept, taken, returned = done.stdout.split()
    return kept == "True", int(taken), int(returned)


@pytest.mark.slow
def test_temporaries_take_no_new_pages_at_the_next_call_and_go_on_demand():
    assert measured("given back")[1] > 5 * TEMPORARY
    kept, taken, returned = measured("kept")
    assert kept == (sys.platform == "linux")
    assert not kept or (taken < 1024 and returned > 0.9 * TEMPORARY)
