"""Lookup cache on the sentiment of a dialogue model (ConvSent).

python train.py --config=configs/sent_lu.py         Blenderbot small, as in the paper; nothing to train, it writes the run folder only
python train.py --config=configs/sent_lu.py:mini    shipped models and data, no network; 5 edits at a time:
                                                    edit success 0.526, drawdown 0.000 on the test
                                                    split
python eval.py                                      scores of the newest run; with :mini both programs take 101 s on 2 CPU cores that have other work too
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.sent(size)
    config.editor = "lookup"
    return config
