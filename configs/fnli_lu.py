"""Lookup cache on fact checking (VitaminC).

    serac train fnli_lu           BERT-base, as in the paper; nothing to train, writes the run
                                  folder only
    serac train fnli_lu:mini      shipped models and data, no network; 10 edits at a time: edit
                                  success 0.468, drawdown 0.068 (near an edit 0.039) on the test
                                  split; 40 s of training and evaluation on 2 CPU cores
    serac eval                    scores the newest run

`python train.py --config=configs/fnli_lu.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("fnli_lu")
