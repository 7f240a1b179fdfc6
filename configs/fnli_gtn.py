"""MEND on fact checking (VitaminC).

    serac train fnli_gtn           BERT-base, as in the paper
    serac train fnli_gtn:mini      shipped models and data, no network, 800 steps; one edit at a
                                   time: edit success 0.394, drawdown 0.003 (near an edit 0.026) on
                                   the test split; 91 s of training and evaluation on 2 CPU cores
    serac eval                     scores the newest run

`python train.py --config=configs/fnli_gtn.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("fnli_gtn")
