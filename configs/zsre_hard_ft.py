"""Fine-tuning on zsRE question answering, hard: implied and yes/no questions in scope, questions
near an edit out of scope.

python train.py --config=configs/zsre_hard_ft.py       T5-large, as in the paper; nothing to train, it writes the run folder only
python train.py --config=configs/zsre_hard_ft.py:mini  shipped models and data, no network, seconds on 2 CPU cores;
                                                        edit success 0.714, drawdown 0.023 (near an
                                                        edit 0.027) on the test split
python eval.py                                         scores of the newest run
"""

from configs import experiments, zsre_ft


def get_config(size: str = "full"):
    return experiments.zsre_hard(zsre_ft.get_config(size), size)
