"""Retrieve and prompt on fact checking (VitaminC).

python train.py --config=configs/fnli_rp.py            BERT-base, as in the paper
python train.py --config=configs/fnli_rp.py:mini       shipped models and data, no network
python eval.py                                      scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.fnli(size)
    config.serac.freeze_counterfactual = True
    return config
