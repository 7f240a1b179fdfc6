"""Scores a trained editor: `serac eval`, in a clone.

python eval.py [--workdir=FOLDER] [--config.eval.FIELD=VALUE …]
"""

import sys

from serac_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["eval", *sys.argv[1:]]))
