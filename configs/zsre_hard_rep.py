"""SERAC on zsRE question answering, hard: implied and yes/no questions in scope, questions near an
edit out of scope.

python train.py --config=configs/zsre_hard_rep.py       T5-large; edit success .913, drawdown .028 (the paper's, from memory, not verified)
python train.py --config=configs/zsre_hard_rep.py:mini  shipped models and data, no network, 300 steps, a minute and a quarter on 2 CPU cores;
                                                        edit success 0.891, drawdown 0.006 (near an
                                                        edit 0.023) on the test split; of implied
                                                        and yes/no questions 0.829
python eval.py                                         scores of the newest run
"""

from configs import experiments, zsre_rep


def get_config(size: str = "full"):
    return experiments.zsre_hard(zsre_rep.get_config(size), size)
