"""Scores a trained editor: `serac eval`, in a clone.

python eval.py [--workdir=FOLDER] [--config.eval.FIELD=VALUE …]
python eval.py --editor=mini|FOLDER [--preset=zsre_hard_rep:mini] [--out=FOLDER] …
"""

import sys

from serac_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["eval", *sys.argv[1:]]))
