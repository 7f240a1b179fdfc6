"""Fine-tuning on fact checking (VitaminC).

python train.py --config=configs/fnli_ft.py         BERT-base, as in the paper; nothing to train, it writes the run folder only
python train.py --config=configs/fnli_ft.py:mini    shipped models and data, no network; 10 edits at a time:
                                                    edit success 0.403, drawdown 0.040 (near an edit
                                                    0.072) on the test split
python eval.py                                      scores of the newest run; with :mini both programs take 68 s on 2 CPU cores that have other work too
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.fnli(size)
    config.editor = "finetune"
    if size == "mini":
        config.finetune.lr = 5e-5
        config.finetune.steps = 30
    return config
