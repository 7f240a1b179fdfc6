"""MEND on zsRE question answering.

python train.py --config=configs/zsre_gtn.py            T5-large, as in the paper
python train.py --config=configs/zsre_gtn.py:mini       shipped models and data, no network, about a minute on 2 CPU cores
python eval.py                                          scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.zsre(size)
    config.editor = "mend"
    config.train.lr = 1e-6
    config.train.lr_lr = 1e-4
    if size == "mini":
        config.train.edits = config.eval.edits = 1
        config.mend.rank = 64
        config.mend.edit_lr = 1e-3
        config.train.lr = 3e-5
        config.train.steps = 600
        config.train.val_every = 200
        config.train.val_batches = 0
    return config
