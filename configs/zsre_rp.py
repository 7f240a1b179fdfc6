"""Retrieve and prompt on zsRE question answering: SERAC without a counterfactual model; the base
model reads the retrieved edit.

python train.py --config=configs/zsre_rp.py            T5-large; edit success .487, drawdown .030 (the paper's, from memory, not verified)
python train.py --config=configs/zsre_rp.py:mini       shipped models and data, no network, about a minute on 2 CPU cores; the small base model
                                                        has not learned to read an edit before a
                                                        question: edit success 0.010, drawdown 0.004
                                                        (near an edit 0.023) on the test split
python eval.py                                         scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.zsre(size)
    config.serac.freeze_counterfactual = True
    return config
