"""MEND on fact checking (VitaminC).

python train.py --config=configs/fnli_gtn.py            BERT-base, as in the paper
python train.py --config=configs/fnli_gtn.py:mini       shipped models and data, no network
python eval.py                                      scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.fnli(size)
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
    return config
