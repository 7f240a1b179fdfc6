"""ENN on fact checking (VitaminC).

python train.py --config=configs/fnli_enn.py         BERT-base, as in the paper
python train.py --config=configs/fnli_enn.py:mini    shipped models and data, no network, 400 steps; one edit at a time:
                                                     edit success 0.603, drawdown 0.163 (near an
                                                     edit 0.132) on the test split
python eval.py                                       scores of the newest run; with :mini both programs take 83 s on 2 CPU cores that have other work too
"""

from configs import editors, experiments


def get_config(size: str = "full"):
    config = editors.enn(experiments.fnli(size), size)
    if size == "mini":
        config.train.lr = 3e-4
        config.train.cedit = 1.0
        config.train.steps = 400
        config.train.val_batches = 0
    return config
