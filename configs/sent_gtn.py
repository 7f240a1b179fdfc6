"""MEND on the sentiment of a dialogue model (ConvSent).

python train.py --config=configs/sent_gtn.py         Blenderbot small, as in the paper
python train.py --config=configs/sent_gtn.py:mini    shipped models and data, no network, 600 steps; one edit at a time:
                                                     edit success 0.634, drawdown 0.119 on the test
                                                     split
python eval.py                                       scores of the newest run; with :mini both programs take 236 s on 2 CPU cores that have other work too
"""

from configs import editors, experiments


def get_config(size: str = "full"):
    config = editors.mend(experiments.sent(size), size)
    if size == "mini":
        # "Sentiment: Positive" alone says little of opinions: the networks have more to learn than
        # in question answering
        config.train.lr = 3e-4
        config.train.lr_lr = 1e-3
        config.train.cedit = 1.0
    return config
