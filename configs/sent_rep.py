"""SERAC on the sentiment of a dialogue model (ConvSent).

    serac train sent_rep           Blenderbot small, as in the paper; edit success .991, drawdown 0
                                   in the paper (not reproduced)
    serac train sent_rep:mini      shipped models and data, no network, 100 steps; 5 edits at a
                                   time: edit success 0.983, drawdown 0.000 on the test split; 289 s
                                   of training and evaluation on 2 CPU cores
    serac eval                     scores the newest run

`python train.py --config=configs/sent_rep.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("sent_rep")
