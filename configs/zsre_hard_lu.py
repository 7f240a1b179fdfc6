"""Lookup cache on zsRE question answering, hard: implied and yes/no questions in scope, questions
near an edit out of scope.

python train.py --config=configs/zsre_hard_lu.py       T5-large, as in the paper; nothing to train, it writes the run folder only
python train.py --config=configs/zsre_hard_lu.py:mini  shipped models and data, no network, seconds on 2 CPU cores;
                                                        edit success 0.735, drawdown 0.004 (near an
                                                        edit 0.012) on the test split
python eval.py                                         scores of the newest run
"""

from configs import experiments, zsre_lu


def get_config(size: str = "full"):
    return experiments.zsre_hard(zsre_lu.get_config(size), size)
