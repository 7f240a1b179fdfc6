"""Fine-tuning on fact checking (VitaminC).

python train.py --config=configs/fnli_ft.py            BERT-base, as in the paper; nothing to train, it writes the run folder only
python train.py --config=configs/fnli_ft.py:mini       shipped models and data, no network
python eval.py                                      scores of the newest run
"""

from configs import experiments


def get_config(size: str = "full"):
    config = experiments.fnli(size)
    config.editor = "finetune"
    return config
