"""Retrieve and prompt on the sentiment of a dialogue model (ConvSent).

python train.py --config=configs/sent_rp.py            Blenderbot small, as in the paper
python train.py --config=configs/sent_rp.py:mini       shipped models and data, no network
python eval.py                                      scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.sent(size)
    config.serac.freeze_counterfactual = True
    return config
