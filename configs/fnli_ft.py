"""Fine-tuning on fact checking (VitaminC).

    serac train fnli_ft           BERT-base, as in the paper; nothing to train, writes the run
                                  folder only
    serac train fnli_ft:mini      shipped models and data, no network; 10 edits at a time: edit
                                  success 0.403, drawdown 0.040 (near an edit 0.072) on the test
                                  split; 68 s of training and evaluation on 2 CPU cores
    serac eval                    scores the newest run

`python train.py --config=configs/fnli_ft.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("fnli_ft")
