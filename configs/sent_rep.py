"""SERAC on the sentiment of a dialogue model (ConvSent).

python train.py --config=configs/sent_rep.py         Blenderbot small, as in the paper
                                                     edit success .991, drawdown 0 (the paper's, not
                                                     verified)
python train.py --config=configs/sent_rep.py:mini    shipped models and data, no network, 100 steps; 5 edits at a time:
                                                     edit success 0.983, drawdown 0.000 on the test
                                                     split
python eval.py                                       scores of the newest run; with :mini both programs take 289 s on 2 CPU cores that have other work too
"""

from configs import experiments


def get_config(size: str = "full"):
    return experiments.sent(size)
