"""SERAC on zsRE question answering, hard: implied and yes/no questions in scope, questions near an edit out of scope.

python train.py --config=configs/zsre_hard_rep.py       T5-large, as in the paper
python train.py --config=configs/zsre_hard_rep.py:mini  shipped models and data, no network, about a minute on 2 CPU cores
python eval.py                                          scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    return experiments.zsre_hard(size)
