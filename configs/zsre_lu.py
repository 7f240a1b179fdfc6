"""Lookup cache on zsRE question answering.

python train.py --config=configs/zsre_lu.py            T5-large, as in the paper; nothing to train, it writes the run folder only
python train.py --config=configs/zsre_lu.py:mini       shipped models and data, no network, seconds on 2 CPU cores
python eval.py                                         scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.zsre(size)
    config.editor = "lookup"
    return config
