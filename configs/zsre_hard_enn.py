"""ENN on zsRE question answering, hard: implied and yes/no questions in scope, questions near an
edit out of scope.

python train.py --config=configs/zsre_hard_enn.py       T5-large, as in the paper
python train.py --config=configs/zsre_hard_enn.py:mini  shipped models and data, no network
                                                        edit success 0.710, drawdown 0.012 (near an
                                                        edit 0.045) on the test split
python eval.py                                         scores of the newest run
"""

from configs import experiments, zsre_enn


def get_config(size: str = "full"):
    return experiments.zsre_hard(zsre_enn.get_config(size), size)
