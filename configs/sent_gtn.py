"""MEND on the sentiment of a dialogue model (ConvSent).

python train.py --config=configs/sent_gtn.py            Blenderbot small, as in the paper
python train.py --config=configs/sent_gtn.py:mini       shipped models and data, no network
python eval.py                                      scores of the newest run
"""

from configs import editors, experiments


def get_config(size: str = "full"):
    return editors.mend(experiments.sent(size), size)
