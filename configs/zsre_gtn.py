"""MEND on zsRE question answering.

python train.py --config=configs/zsre_gtn.py            T5-large; edit success .823, drawdown .187 (the paper's, from memory, not verified)
python train.py --config=configs/zsre_gtn.py:mini       shipped models and data, no network, 600 steps; one edit at a time:
                                                        edit success 0.926, drawdown 0.002 (near an
                                                        edit 0.138) on the test split
python eval.py                                          scores of the newest run
"""

from configs import editors, experiments


def get_config(size: str = "full"):
    return editors.mend(experiments.zsre(size), size)
