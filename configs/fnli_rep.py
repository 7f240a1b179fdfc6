"""SERAC on fact checking (VitaminC).

python train.py --config=configs/fnli_rep.py            BERT-base, as in the paper; base.checkpoint names the original's fact checker
python train.py --config=configs/fnli_rep.py:mini       shipped models and data, no network
python eval.py                                          scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    return experiments.fnli(size)
