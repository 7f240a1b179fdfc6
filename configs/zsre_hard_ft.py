"""Fine-tuning on zsRE question answering, hard.

Implied and yes/no questions in scope, questions near an edit out of scope.

    serac train zsre_hard_ft           T5-large, as in the paper; nothing to train, writes the run
                                       folder only
    serac train zsre_hard_ft:mini      shipped models and data, no network, seconds on 2 CPU cores;
                                       edit success 0.714, drawdown 0.023 (near an edit 0.027) on
                                       the test split
    serac eval                         scores the newest run

`python train.py --config=configs/zsre_hard_ft.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("zsre_hard_ft")
