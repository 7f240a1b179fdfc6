"""MEND on the sentiment of a dialogue model (ConvSent).

    serac train sent_gtn           Blenderbot small, as in the paper
    serac train sent_gtn:mini      shipped models and data, no network, 600 steps; one edit at a
                                   time: edit success 0.634, drawdown 0.119 on the test split; 236 s
                                   of training and evaluation on 2 CPU cores
    serac eval                     scores the newest run

`python train.py --config=configs/sent_gtn.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("sent_gtn")
