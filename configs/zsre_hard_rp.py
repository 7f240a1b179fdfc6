"""Retrieve and prompt on zsRE question answering, hard.

Implied and yes/no questions in scope, questions near an edit out of scope.

    serac train zsre_hard_rp           T5-large, as in the paper
    serac train zsre_hard_rp:mini      shipped models and data, no network edit success 0.158,
                                       drawdown 0.006 (near an edit 0.016) on the test split
    serac eval                         scores the newest run

`python train.py --config=configs/zsre_hard_rp.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("zsre_hard_rp")
