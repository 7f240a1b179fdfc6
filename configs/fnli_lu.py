"""Lookup cache on fact checking (VitaminC).

python train.py --config=configs/fnli_lu.py         BERT-base, as in the paper; nothing to train, it writes the run folder only
python train.py --config=configs/fnli_lu.py:mini    shipped models and data, no network; 10 edits at a time:
                                                    edit success 0.468, drawdown 0.068 (near an edit
                                                    0.039) on the test split
python eval.py                                      scores of the newest run; with :mini both programs take 40 s on 2 CPU cores that have other work too
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.fnli(size)
    config.editor = "lookup"
    if size == "mini":
        config.lookup.threshold = 0.5
    return config
