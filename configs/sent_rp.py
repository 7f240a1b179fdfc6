"""Retrieve and prompt on the sentiment of a dialogue model (ConvSent).

    serac train sent_rp           Blenderbot small, as in the paper
    serac train sent_rp:mini      shipped models and data, no network, 100 steps; 5 edits at a time:
                                  edit success 0.501, drawdown 0.000 on the test split; 151 s of
                                  training and evaluation on 2 CPU cores
    serac eval                    scores the newest run

`python train.py --config=configs/sent_rp.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("sent_rp")
