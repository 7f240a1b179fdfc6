#!/usr/bin/env bash
# The runs of the paper's main table: every experiment with every editor (configs/*_*.py), trained where it learns, and evaluated.
#
#   [SIZE=:mini] [DRY=1] [RUNS=DIR] scripts/main.sh [--config.FIELD=VALUE …]
#
# Options go to every train.py. SIZE=:mini: shipped models and data. DRY, RUNS: scripts/grid.sh.
# shellcheck source=scripts/grid.sh
source "$(dirname "$0")/grid.sh"

for config in configs/*_*.py; do
    train_and_evaluate "main${SIZE:-}/$(basename "$config" .py)" "--config=$config${SIZE:-}" "$@"
done
