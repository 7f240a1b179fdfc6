"""Memory that a program freed is there for its next call."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import sys

import jax
import jax.numpy as jnp

from serac_jax.runtime.allocator import keep_freed

kept = sys.argv[1] == "kept" and keep_freed()
step = jax.jit(lambda x: (jnp.tanh(x @ x.T) @ x).sum())  # a temporary of 64 MiB
x = jnp.ones((4096, 64))
for _ in range(3):
    step(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step(x).block_until_ready()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
def test_temporaries_take_no_new_pages_at_the_next_call():
    def faults(how: str) -> tuple[str, int]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, how],
            check=True,
            capture_output=True,
            text=True,
            env={"JAX_PLATFORMS": "cpu", "PATH": ""},
        )
        kept, count = done.stdout.split()
        return kept, int(count)

    assert faults("given back")[1] > 5 * 16384  # pages of 4 KiB, all of the temporary at every call
    kept, count = faults("kept")
    assert kept == str(sys.platform == "linux")
    assert count < 1024 or kept == "False"
