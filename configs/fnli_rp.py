"""Retrieve and prompt on fact checking (VitaminC).

    serac train fnli_rp           BERT-base, as in the paper
    serac train fnli_rp:mini      shipped models and data, no network, 100 steps; 10 edits at a
                                  time: edit success 0.511, drawdown 0.006 (near an edit 0.007) on
                                  the test split; 138 s of training and evaluation on 2 CPU cores
    serac eval                    scores the newest run

`python train.py --config=configs/fnli_rp.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("fnli_rp")
