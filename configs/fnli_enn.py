"""ENN on fact checking (VitaminC).

python train.py --config=configs/fnli_enn.py            BERT-base, as in the paper
python train.py --config=configs/fnli_enn.py:mini       shipped models and data, no network
python eval.py                                      scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.fnli(size)
    config.editor = "enn"
    config.train.lr_lr = 1e-3
    if size == "mini":
        config.enn.edit_lr = 0.1
        config.train.lr = 1e-4
        config.train.lr_lr = 3e-4
        config.train.edits = config.eval.edits = 1
    return config
