"""ENN on zsRE question answering.

python train.py --config=configs/zsre_enn.py            T5-large; edit success .786, drawdown .354 (the paper's, from memory, not verified)
python train.py --config=configs/zsre_enn.py:mini       shipped models and data, no network, 300 steps; one edit at a time:
                                                        edit success 0.920, drawdown 0.004 (near an
                                                        edit 0.195) on the test split
python eval.py                                          scores of the newest run
"""

from configs import editors, experiments


def get_config(size: str = "full"):
    return editors.enn(experiments.zsre(size), size)
