"""Fine-tuning on the sentiment of a dialogue model (ConvSent).

    serac train sent_ft           Blenderbot small, as in the paper; nothing to train, writes the
                                  run folder only
    serac train sent_ft:mini      shipped models and data, no network; 5 edits at a time: edit
                                  success 0.525, drawdown 0.202 on the test split; 171 s of training
                                  and evaluation on 2 CPU cores
    serac eval                    scores the newest run

`python train.py --config=configs/sent_ft.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("sent_ft")
