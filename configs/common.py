"""The defaults of every field (`serac_jax.training.sections` says what each means)."""

from serac_jax.core.types import Config
from serac_jax.training import sections


def get_config() -> Config:
    """The defaults of Mitchell et al. 2022, question answering."""
    return sections.defaults()
