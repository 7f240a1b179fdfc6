"""ENN on zsRE question answering.

    serac train zsre_enn           T5-large; edit success .786, drawdown .354 in the paper (not
                                   reproduced)
    serac train zsre_enn:mini      shipped models and data, no network, 300 steps; one edit at a
                                   time: edit success 0.920, drawdown 0.004 (near an edit 0.195) on
                                   the test split
    serac eval                     scores the newest run

`python train.py --config=configs/zsre_enn.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("zsre_enn")
