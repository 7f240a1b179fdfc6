"""Fine-tuning on zsRE question answering.

python train.py --config=configs/zsre_ft.py            T5-large, nothing to train; edit success .572, drawdown .054 (the paper's, from memory, not verified)
python train.py --config=configs/zsre_ft.py:mini       shipped models and data, no network, seconds on 2 CPU cores;
                                                        edit success 0.870, drawdown 0.004 (near an
                                                        edit 0.023) on the test split
python eval.py                                         scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.zsre(size)
    config.editor = "finetune"
    if size == "mini":
        config.finetune.lr = 3e-4
        config.finetune.steps = 20
    return config
