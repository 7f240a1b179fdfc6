"""MEND on zsRE question answering.

    serac train zsre_gtn           T5-large; edit success .823, drawdown .187 in the paper (not
                                   reproduced)
    serac train zsre_gtn:mini      shipped models and data, no network, 600 steps; one edit at a
                                   time: edit success 0.926, drawdown 0.002 (near an edit 0.138) on
                                   the test split
    serac eval                     scores the newest run

`python train.py --config=configs/zsre_gtn.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("zsre_gtn")
