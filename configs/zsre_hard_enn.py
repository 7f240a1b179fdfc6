"""ENN on zsRE question answering, hard.

Implied and yes/no questions in scope, questions near an edit out of scope.

    serac train zsre_hard_enn           T5-large, as in the paper
    serac train zsre_hard_enn:mini      shipped models and data, no network edit success 0.710,
                                        drawdown 0.012 (near an edit 0.045) on the test split
    serac eval                          scores the newest run

`python train.py --config=configs/zsre_hard_enn.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("zsre_hard_enn")
