#!/usr/bin/env bash
# Ablation of SERAC's scope classifier on fact checking and hard question answering: DistilBERT or
# BERT, by embeddings or by cross-attention.
#
#   [DRY=1] [RUNS=DIR] scripts/ablations.sh [--config.FIELD=VALUE …]
#
# Options are passed to every train.py. DRY and RUNS: see scripts/grid.sh.
# shellcheck source=scripts/grid.sh
source "$(dirname "$0")/grid.sh"

for experiment in fnli zsre_hard; do
    for cross_attention in False True; do
        train_and_evaluate "ablations/$experiment-distilbert-$cross_attention" "--config=configs/${experiment}_rep.py" \
            --config.serac.scope=distilbert-base-cased "--config.serac.cross_attention=$cross_attention" "$@"
        train_and_evaluate "ablations/$experiment-bert-$cross_attention" "--config=configs/${experiment}_rep.py" \
            --config.serac.scope=bert-base-cased "--config.serac.cross_attention=$cross_attention" --config.serac.remat=True "$@"
    done
done
