"""Fine-tuning on zsRE question answering.

    serac train zsre_ft           T5-large, nothing to train; edit success .572, drawdown .054 in
                                  the paper (not reproduced)
    serac train zsre_ft:mini      shipped models and data, no network, seconds on 2 CPU cores; edit
                                  success 0.870, drawdown 0.004 (near an edit 0.023) on the test
                                  split
    serac eval                    scores the newest run

`python train.py --config=configs/zsre_ft.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("zsre_ft")
