"""Lookup cache on zsRE question answering.

    serac train zsre_lu           T5-large, nothing to train; edit success .944, drawdown .051 in
                                  the paper (not reproduced)
    serac train zsre_lu:mini      shipped models and data, no network, seconds on 2 CPU cores; edit
                                  success 0.932, drawdown 0.010 (near an edit 0.051) on the test
                                  split
    serac eval                    scores the newest run

`python train.py --config=configs/zsre_lu.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("zsre_lu")
