"""ENN on fact checking (VitaminC).

python train.py --config=configs/fnli_enn.py            BERT-base, as in the paper
python train.py --config=configs/fnli_enn.py:mini       shipped models and data, no network
python eval.py                                      scores of the newest run
"""

from configs import editors, experiments


def get_config(size: str = "full"):
    return editors.enn(experiments.fnli(size), size)
