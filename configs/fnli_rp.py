"""Retrieve and prompt on fact checking (VitaminC).

python train.py --config=configs/fnli_rp.py         BERT-base, as in the paper
python train.py --config=configs/fnli_rp.py:mini    shipped models and data, no network, 100 steps; 10 edits at a time:
                                                    edit success 0.511, drawdown 0.006 (near an edit
                                                    0.007) on the test split
python eval.py                                      scores of the newest run; with :mini both programs take 138 s on 2 CPU cores that have other work too
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.fnli(size)
    config.serac.freeze_counterfactual = True
    return config
