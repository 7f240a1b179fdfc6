"""SERAC on fact checking (VitaminC).

    serac train fnli_rep           BERT-base; base.checkpoint names the original's fact checker;
                                   edit success .877, drawdown .051 in the paper (not reproduced)
    serac train fnli_rep:mini      shipped models and data, no network, 100 steps; 10 edits at a
                                   time: edit success 0.972, drawdown 0.003 (near an edit 0.013) on
                                   the test split; 173 s of training and evaluation on 2 CPU cores
    serac eval                     scores the newest run

`python train.py --config=configs/fnli_rep.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("fnli_rep")
