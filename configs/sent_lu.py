"""Lookup cache on the sentiment of a dialogue model (ConvSent).

    serac train sent_lu           Blenderbot small, as in the paper; nothing to train, writes the
                                  run folder only
    serac train sent_lu:mini      shipped models and data, no network; 5 edits at a time: edit
                                  success 0.526, drawdown 0.000 on the test split; 101 s of training
                                  and evaluation on 2 CPU cores
    serac eval                    scores the newest run

`python train.py --config=configs/sent_lu.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("sent_lu")
