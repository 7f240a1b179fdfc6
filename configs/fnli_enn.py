"""ENN on fact checking (VitaminC).

    serac train fnli_enn           BERT-base, as in the paper
    serac train fnli_enn:mini      shipped models and data, no network, 400 steps; one edit at a
                                   time: edit success 0.603, drawdown 0.163 (near an edit 0.132) on
                                   the test split; 83 s of training and evaluation on 2 CPU cores
    serac eval                     scores the newest run

`python train.py --config=configs/fnli_enn.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("fnli_enn")
