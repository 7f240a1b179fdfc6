"""MEND on zsRE question answering, hard: implied and yes/no questions in scope, questions near an
edit out of scope.

python train.py --config=configs/zsre_hard_gtn.py       T5-large, as in the paper
python train.py --config=configs/zsre_hard_gtn.py:mini  shipped models and data, no network
                                                        edit success 0.751, drawdown 0.004 (near an
                                                        edit 0.051) on the test split
python eval.py                                         scores of the newest run
"""

from configs import experiments, zsre_gtn


def get_config(size: str = "full"):
    return experiments.zsre_hard(zsre_gtn.get_config(size), size)
