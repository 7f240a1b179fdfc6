"""Retrieve and prompt on zsRE question answering, hard: implied and yes/no questions in scope,
questions near an edit out of scope.

python train.py --config=configs/zsre_hard_rp.py       T5-large, as in the paper
python train.py --config=configs/zsre_hard_rp.py:mini  shipped models and data, no network
                                                       edit success 0.158, drawdown 0.006 (near an
                                                       edit 0.016) on the test split
python eval.py                                         scores of the newest run
"""

from configs import experiments, zsre_rp


def get_config(size: str = "full"):
    return experiments.zsre_hard(zsre_rp.get_config(size), size)
