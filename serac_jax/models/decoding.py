"""How a model wants its answers decoded: what its generation_config.json asks for, by the rules of
`transformers` (v5)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Scalar
from transformers import GenerationConfig

from serac_jax.models.convert import WeightError


class Decoding(NamedTuple):
    """Greedy where `beams` is 1.

    length_penalty: a finished beam scores Σ log p / length^penalty.
    min_length: positions, the first decoder input included, before which no answer may end.
    no_repeat: no sequence of so many tokens comes twice in an answer; 0: all may.
    forced_end: an answer that reaches the last position ends there.
    """

    beams: int = 1
    length_penalty: float = 1.0
    min_length: int = 0
    no_repeat: int = 0
    forced_end: bool = False


READ = {
    "num_beams": "beams",
    "length_penalty": "length_penalty",
    "min_length": "min_length",
    "no_repeat_ngram_size": "no_repeat",
}
# Who made the file, tokens that the network's own configuration names, lengths, which are the
# caller's, and what only sampling reads.
INERT = frozenset(
    """transformers_version _from_model_config bos_token_id eos_token_id pad_token_id decoder_start_token_id use_cache max_length max_new_tokens
    output_attentions output_hidden_states output_scores return_dict_in_generate temperature top_k top_p typical_p epsilon_cutoff eta_cutoff""".split()
)
DEFAULTS = {
    "do_sample": False,
    "early_stopping": False,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "num_return_sequences": 1,
} | {
    "encoder_no_repeat_ngram_size": 0,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "remove_invalid_values": False,
    "renormalize_logits": False,
}


def read(folder: Path, eos: int) -> Decoding:
    """What the generation_config.json of a folder asks for, or, where there is none, its
    config.json; `eos`: the network's end of sequence.

    Raises WeightError where an option is set that is not implemented.
    """
    file = next(
        file
        for file in (folder / "generation_config.json", folder / "config.json")
        if file.exists()
    )
    known = GenerationConfig().to_dict()
    asked = {
        key: value
        for key, value in json.loads(file.read_text()).items()
        if value is not None and (key in known or file.name != "config.json")
    }
    forced = asked.pop("forced_eos_token_id", None)
    if forced not in (None, eos):
        raise WeightError(
            f"{file} sets forced_eos_token_id={forced!r}, but config.json says that answers end"
            f" with {eos}"
        )
    for key in asked.keys() - READ.keys() - INERT:
        if asked[key] != DEFAULTS.get(key):
            raise WeightError(
                f"{file} sets {key}={asked[key]!r}, which decoding does not implement; it reads"
                f" {', '.join(READ)}, forced_eos_token_id"
            )
    return Decoding(
        **{READ[key]: asked[key] for key in READ.keys() & asked.keys()},
        forced_end=forced is not None,
    )


def restrict(
    scores: Float[Array, "n v"],
    ids: Int[Array, "n s"],
    at: Scalar,
    options: Decoding,
    start: int,
    eos: int,
) -> Float[Array, "n v"]:
    """Scores of the token at position `at`, given those before it, −inf where the options forbid
    it."""
    vocab = jnp.arange(scores.shape[-1])[None]
    if options.no_repeat:
        scores = jnp.where(
            repeats(ids, at, options.no_repeat, start, scores.shape[-1]), -jnp.inf, scores
        )
    if options.min_length:
        scores = jnp.where((vocab == eos) & (at + 1 < options.min_length), -jnp.inf, scores)
    if options.forced_end:
        scores = jnp.where(at == ids.shape[1] - 1, jnp.where(vocab == eos, 0.0, -jnp.inf), scores)
    return scores


def repeats(ids: Int[Array, "n s"], at: Scalar, size: int, start: int, vocab: int) -> Array:
    """True on tokens that would repeat a sequence of `size` tokens; "n v". The first decoder input
    counts."""
    seen = jnp.concatenate([jnp.full((ids.shape[0], 1), start, ids.dtype), ids], -1)
    begins = jnp.arange(max(seen.shape[1] - size + 1, 0))
    windows = seen[:, begins[:, None] + jnp.arange(size)[None]]  # "n w size"
    last = jnp.take(seen, at + 2 - size + jnp.arange(size - 1), axis=1, mode="clip")
    again = (windows[..., :-1] == last[:, None]).all(-1) & (begins + size <= at + 1)[None]
    token = jnp.where(again, windows[..., -1], vocab)  # past the end, where it is dropped
    return (
        jnp.zeros((ids.shape[0], vocab), bool)
        .at[jnp.arange(ids.shape[0])[:, None], token]
        .set(True, mode="drop")
    )
