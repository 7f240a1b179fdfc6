"""SERAC on the sentiment of a dialogue model (ConvSent).

python train.py --config=configs/sent_rep.py            Blenderbot small, as in the paper
python train.py --config=configs/sent_rep.py:mini       shipped models and data, no network
python eval.py                                          scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    return experiments.sent(size)
