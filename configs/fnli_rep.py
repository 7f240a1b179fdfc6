"""SERAC on fact checking (VitaminC).

python train.py --config=configs/fnli_rep.py         BERT-base; base.checkpoint names the original's fact checker
                                                     edit success .877, drawdown .051 (the paper's,
                                                     not verified)
python train.py --config=configs/fnli_rep.py:mini    shipped models and data, no network, 100 steps; 10 edits at a time:
                                                     edit success 0.972, drawdown 0.003 (near an
                                                     edit 0.013) on the test split
python eval.py                                       scores of the newest run; with :mini both programs take 173 s on 2 CPU cores that have other work too
"""

from configs import experiments


def get_config(size: str = "full"):
    return experiments.fnli(size)
