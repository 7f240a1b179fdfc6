"""ENN on the sentiment of a dialogue model (ConvSent).

    serac train sent_enn           Blenderbot small, as in the paper
    serac train sent_enn:mini      shipped models and data, no network, 600 steps; one edit at a
                                   time: edit success 0.806, drawdown 0.120 on the test split; 277 s
                                   of training and evaluation on 2 CPU cores
    serac eval                     scores the newest run

`python train.py --config=configs/sent_enn.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("sent_enn")
