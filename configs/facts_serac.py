"""SERAC on low-rank adapters: a small causal language model that people can edit.

    serac train facts_serac --config.data.dir=FOLDER
                                   SmolLM2-135M-Instruct and all-MiniLM-L6-v2, trained on the
                                   shipped world and on the public files that FOLDER holds
                                   (`serac_jax/tasks/facts/fact_sources.py` names them)
    serac train facts_serac:mini   the shipped world alone, 40 steps: to see that it runs

`python train.py --config=configs/facts_serac.py[:mini]` does the same in a clone.
"""

from serac_jax import presets

get_config = presets.variants("facts_serac")
