"""What networks declare of Hugging Face configurations is what `transformers` says of them."""

import pytest
import transformers

from serac_jax.models.decoding import GENERATION
from serac_jax.models.networks import NETWORKS


@pytest.mark.parametrize("kind", NETWORKS)
def test_declared_defaults_are_those_of_transformers(kind):
    """Where a default is None, the network works it out from other attributes."""
    theirs = transformers.AutoConfig.for_model(kind).to_dict()
    for key, value in NETWORKS[kind].attributes.items():
        if key in ("id2label", "eos_token_id"):
            assert value == theirs[key] or len(value) == 2 or value == (theirs[key],)
        elif value is not None and key in theirs:
            assert value == theirs[key], key
    for key, value in NETWORKS[kind].fixed.items():
        assert theirs.get(key, value) == value


def test_every_option_of_generation_is_known():
    assert set(transformers.GenerationConfig().to_dict()) <= GENERATION
