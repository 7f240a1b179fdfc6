"""ENN on zsRE question answering.

python train.py --config=configs/zsre_enn.py            T5-large; edit success .786, drawdown .354 (the paper's, from memory, not verified)
python train.py --config=configs/zsre_enn.py:mini       shipped models and data, no network, 300 steps; one edit at a time:
                                                        edit success 0.920, drawdown 0.004 (near an edit 0.195) on the test split
python eval.py                                          scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.zsre(size)
    config.editor = "enn"
    config.train.lr_lr = 1e-3
    if size == "mini":
        config.enn.edit_lr = 0.1
        config.train.lr = 1e-4
        config.train.lr_lr = 3e-4
        config.train.val_batches = 100
        config.train.edits = config.eval.edits = 1
    return config
