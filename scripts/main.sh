#!/usr/bin/env bash
# The paper's main table: trains and evaluates every editor on every experiment (configs/*_*.py).
#
#   [SIZE=:mini] [DRY=1] [RUNS=DIR] scripts/main.sh [--config.FIELD=VALUE …]
#
# Options are passed to every train.py. SIZE=:mini uses shipped models and data. DRY and RUNS: see
# scripts/grid.sh.
# shellcheck source=scripts/grid.sh
source "$(dirname "$0")/grid.sh"

for config in configs/*_*.py; do
    train_and_evaluate "main${SIZE:-}/$(basename "$config" .py)" "--config=$config${SIZE:-}" "$@"
done
