"""ENN on the sentiment of a dialogue model (ConvSent).

python train.py --config=configs/sent_enn.py            Blenderbot small, as in the paper
python train.py --config=configs/sent_enn.py:mini       shipped models and data, no network
python eval.py                                      scores of the newest run
"""

from configs import editors, experiments


def get_config(size: str = "full"):
    return editors.enn(experiments.sent(size), size)
