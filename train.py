"""Trains an editor: `serac train`, in a clone.

python train.py --config=configs/zsre_rep.py[:mini] [--config.FIELD=VALUE …] [--workdir=FOLDER]
"""

import sys

from serac_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
