"""Fine-tuning on the sentiment of a dialogue model (ConvSent).

python train.py --config=configs/sent_ft.py         Blenderbot small, as in the paper; nothing to train, it writes the run folder only
python train.py --config=configs/sent_ft.py:mini    shipped models and data, no network; 5 edits at a time:
                                                    edit success 0.525, drawdown 0.202 on the test
                                                    split
python eval.py                                      scores of the newest run; with :mini both programs take 171 s on 2 CPU cores that have other work too
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.sent(size)
    config.editor = "finetune"
    if size == "mini":
        config.finetune.lr = 1e-5
        config.finetune.steps = 20
    return config
