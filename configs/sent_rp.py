"""Retrieve and prompt on the sentiment of a dialogue model (ConvSent).

python train.py --config=configs/sent_rp.py         Blenderbot small, as in the paper
python train.py --config=configs/sent_rp.py:mini    shipped models and data, no network, 100 steps; 5 edits at a time:
                                                    edit success 0.501, drawdown 0.000 on the test
                                                    split
python eval.py                                      scores of the newest run; with :mini both programs take 151 s on 2 CPU cores that have other work too
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.sent(size)
    config.serac.freeze_counterfactual = True
    return config
