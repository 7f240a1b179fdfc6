"""MEND on zsRE question answering.

python train.py --config=configs/zsre_gtn.py            T5-large; edit success .823, drawdown .187 (the paper's, from memory, not verified)
python train.py --config=configs/zsre_gtn.py:mini       shipped models and data, no network, 600 steps; one edit at a time:
                                                        edit success 0.924, drawdown 0.002 (near an edit 0.136) on the test split
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
