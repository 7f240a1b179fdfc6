"""SERAC on zsRE question answering.

    serac train zsre_rep           T5-large; edit success .986, drawdown .009 in the paper (not
                                   reproduced)
    serac train zsre_rep:mini      shipped models and data, no network, 300 steps, about a minute on
                                   2 CPU cores; edit success 0.951, drawdown 0.004 (near an edit
                                   0.031) on the test split
    serac eval                     scores the newest run

`python train.py --config=configs/zsre_rep.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("zsre_rep")
