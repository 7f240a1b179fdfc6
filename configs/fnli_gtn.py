"""MEND on fact checking (VitaminC).

python train.py --config=configs/fnli_gtn.py         BERT-base, as in the paper
python train.py --config=configs/fnli_gtn.py:mini    shipped models and data, no network, 800 steps; one edit at a time:
                                                     edit success 0.394, drawdown 0.003 (near an
                                                     edit 0.026) on the test split
python eval.py                                       scores of the newest run; with :mini both programs take 91 s on 2 CPU cores that have other work too
"""

from configs import editors, experiments


def get_config(size: str = "full"):
    config = editors.mend(experiments.fnli(size), size)
    if size == "mini":
        config.train.lr = 1e-4
        config.train.cedit = 0.2
        config.train.steps = 800
    return config
