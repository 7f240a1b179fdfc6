"""SERAC on zsRE question answering, hard.

Implied and yes/no questions in scope, questions near an edit out of scope.

    serac train zsre_hard_rep           T5-large; edit success .913, drawdown .028 in the paper (not
                                        reproduced)
    serac train zsre_hard_rep:mini      shipped models and data, no network, 300 steps, a minute and
                                        a quarter on 2 CPU cores; edit success 0.891, drawdown 0.006
                                        (near an edit 0.023) on the test split; of implied and
                                        yes/no questions 0.829
    serac eval                          scores the newest run

`python train.py --config=configs/zsre_hard_rep.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("zsre_hard_rep")
