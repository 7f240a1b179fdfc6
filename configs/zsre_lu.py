"""Lookup cache on zsRE question answering.

python train.py --config=configs/zsre_lu.py            T5-large, nothing to train; edit success .944, drawdown .051 (the paper's, from memory, not verified)
python train.py --config=configs/zsre_lu.py:mini       shipped models and data, no network, seconds on 2 CPU cores;
                                                        edit success 0.932, drawdown 0.010 (near an
                                                        edit 0.051) on the test split
python eval.py                                         scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.zsre(size)
    config.editor = "lookup"
    return config
