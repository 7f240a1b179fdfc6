"""ENN on the sentiment of a dialogue model (ConvSent).

python train.py --config=configs/sent_enn.py         Blenderbot small, as in the paper
python train.py --config=configs/sent_enn.py:mini    shipped models and data, no network, 600 steps; one edit at a time:
                                                     edit success 0.806, drawdown 0.120 on the test
                                                     split
python eval.py                                       scores of the newest run; with :mini both programs take 277 s on 2 CPU cores that have other work too
"""

from configs import editors, experiments


def get_config(size: str = "full"):
    config = editors.enn(experiments.sent(size), size)
    if size == "mini":
        # the base model has no opinions yet: those of an edit's sentiment have to be learned
        config.train.lr = 1e-3
        config.train.cedit = 1.0
        config.train.steps = 600
        config.train.val_every = 200
    return config
