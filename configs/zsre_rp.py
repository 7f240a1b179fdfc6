"""Retrieve and prompt on zsRE question answering.

SERAC without a counterfactual model; the base model reads the retrieved edit.

    serac train zsre_rp           T5-large; edit success .487, drawdown .030 in the paper (not
                                  reproduced)
    serac train zsre_rp:mini      shipped models and data, no network, about a minute on 2 CPU
                                  cores; the small base model has not learned to read an edit before
                                  a question: edit success 0.010, drawdown 0.004 (near an edit
                                  0.023) on the test split
    serac eval                    scores the newest run

`python train.py --config=configs/zsre_rp.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("zsre_rp")
