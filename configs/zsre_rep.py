"""SERAC on zsRE question answering.

python train.py --config=configs/zsre_rep.py            T5-large; edit success .986, drawdown .009 (the paper's, from memory, not verified)
python train.py --config=configs/zsre_rep.py:mini       shipped models and data, no network, 300 steps, about a minute on 2 CPU cores;
                                                        edit success 0.949, drawdown 0.004 (near an
                                                        edit 0.031) on the test split
python eval.py                                          scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    return experiments.zsre(size)
