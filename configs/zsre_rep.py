"""SERAC on zsRE question answering.

python train.py --config=configs/zsre_rep.py            T5-large, as in the paper
python train.py --config=configs/zsre_rep.py:mini       shipped models and data, no network, about a minute on 2 CPU cores
python eval.py                                          scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    return experiments.zsre(size)
