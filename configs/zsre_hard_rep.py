"""SERAC on zsRE question answering, hard: implied and yes/no questions in scope, questions near an edit out of scope.

python train.py --config=configs/zsre_hard_rep.py       T5-large, as in the paper
python train.py --config=configs/zsre_hard_rep.py:mini  shipped models and data, no network
python eval.py                                         scores of the newest run
"""

from configs import experiments, zsre_rep


def get_config(size: str = "full"):
    return experiments.zsre_hard(zsre_rep.get_config(size), size)
