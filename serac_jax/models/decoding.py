"""How a model wants its answers decoded: what its generation_config.json asks for, by the rules of
`transformers` (v5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

from serac_jax.core.model_files import read_json
from serac_jax.models.network import WeightError


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
# By the fields of Decoding.
RANGES: dict[str, tuple[float, float]] = {
    "beams": (1, 1000),
    "length_penalty": (-100.0, 100.0),
    "min_length": (0, 2**20),
    "no_repeat": (0, 2**20),
}
# What wrote the file, tokens that config.json names too, lengths, which are the caller's, how to
# cache and compile, and what only sampling reads.
INERT = frozenset(
    """transformers_version _from_model_config bos_token_id eos_token_id pad_token_id
    decoder_start_token_id use_cache cache_implementation cache_config max_cache_len compile_config
    disable_compile prefill_chunk_size max_length max_new_tokens output_attentions
    output_hidden_states output_scores output_logits return_dict_in_generate temperature top_k top_p
    min_p top_h typical_p epsilon_cutoff eta_cutoff""".split()
)
# Other options, with the value that is implemented.
DEFAULTS: dict[str, Any] = {
    "do_sample": False,
    "early_stopping": False,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "num_return_sequences": 1,
    "encoder_no_repeat_ngram_size": 0,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "remove_invalid_values": False,
    "renormalize_logits": False,
}
UNKNOWN = frozenset(
    """min_new_tokens max_time stop_strings use_mtp bad_words_ids forced_bos_token_id
    exponential_decay_length_penalty suppress_tokens begin_suppress_tokens sequence_bias
    token_healing guidance_scale watermarking_config is_assistant num_assistant_tokens
    num_assistant_tokens_schedule assistant_confidence_threshold prompt_lookup_num_tokens
    max_matching_ngram_size assistant_early_exit assistant_lookbehind target_lookbehind
    assistant_ensemble_weight speculation_type continuous_batching_config low_memory penalty_alpha
    dola_layers constraints force_words_ids""".split()
)
FORCED = "forced_eos_token_id"
# Every option of `transformers.GenerationConfig`, which older models set in config.json.
GENERATION = frozenset((*READ, *INERT, *DEFAULTS, *UNKNOWN, FORCED))


def read(folder: Path, ends: tuple[int, ...], sampled: bool = False) -> Decoding:
    """What a folder's generation_config.json asks for, or else its config.json.

    Args:
        ends: the ids that end an answer.
        sampled: whether a request to sample is passed over; answers are decoded greedily.

    Raises:
        WeightError: an option is set that is not implemented.
    """
    file = folder / "generation_config.json"
    asked = {key: value for key, value in options_in(folder).items() if value is not None}
    if not file.exists():
        file = folder / "config.json"
    forced = asked.pop(FORCED, None)
    if forced is not None and forced not in ends:
        raise WeightError(
            f"{file} sets {FORCED}={forced!r:.60}, but config.json says that answers end with"
            f" {' or '.join(map(str, ends))}"
        )
    if sampled:
        asked.pop("do_sample", None)
    for key in asked.keys() - READ.keys() - INERT:
        if asked[key] != DEFAULTS.get(key):
            raise WeightError(
                f"{file} sets {key}={asked[key]!r:.60}, which decoding does not implement; it reads"
                f" {', '.join(READ)}, {FORCED}"
            )
    found = {READ[key]: asked[key] for key in READ.keys() & asked.keys()}
    for name, value in found.items():
        check(file, name, value)
    return Decoding(**found, forced_end=forced is not None)


def check(file: Path, name: str, value: Any) -> None:
    """Raises WeightError where an option is no number, or is out of range."""
    low, high = RANGES[name]
    kinds = (int, float) if isinstance(low, float) else int
    if not isinstance(value, kinds) or isinstance(value, bool) or not low <= value <= high:
        raise WeightError(f"{file}: expected a {name} from {low} to {high}, not {value!r:.60}")


def options_in(folder: Path) -> dict[str, Any]:
    """The options of generation_config.json, or else those among the attributes of config.json."""
    if (folder / "generation_config.json").exists():
        return read_json(folder / "generation_config.json")
    attributes = read_json(folder / "config.json")
    return {key: value for key, value in attributes.items() if key in GENERATION}


def restrict(
    scores: Float[Array, "n v"],
    ids: Int[Array, "n s"],
    at: Scalar,
    options: Decoding,
    first: Int[Array, " n"],
    ends: tuple[int, ...],
) -> Float[Array, "n v"]:
    """Scores of the token at position `at`, −inf where the options forbid it.

    Args:
        ids: of the answers so far. first: the token before them.
        ends: the ids that end an answer.
    """
    vocab = scores.shape[-1]
    end = jnp.zeros(vocab, bool).at[jnp.asarray(ends)].set(True)[None]
    if options.no_repeat:
        scores = jnp.where(repeats(ids, at, options.no_repeat, first, vocab), -jnp.inf, scores)
    if options.min_length:
        scores = jnp.where(end & (at + 1 < options.min_length), -jnp.inf, scores)
    if options.forced_end:
        scores = jnp.where(at == ids.shape[1] - 1, jnp.where(end, 0.0, -jnp.inf), scores)
    return scores


def repeats(
    ids: Int[Array, "n s"], at: Scalar, size: int, first: Int[Array, " n"], vocab: int
) -> Bool[Array, "n v"]:
    """True on tokens that would repeat a sequence of `size` tokens; the first decoder input
    counts."""
    seen = jnp.concatenate([first[:, None], ids], -1)
    begins = jnp.arange(max(seen.shape[1] - size + 1, 0))
    windows = seen[:, begins[:, None] + jnp.arange(size)[None]]  # "n w size"
    last = jnp.take(seen, at + 2 - size + jnp.arange(size - 1), axis=1, mode="clip")
    again = (windows[..., :-1] == last[:, None]).all(-1) & (begins + size <= at + 1)[None]
    token = jnp.where(again, windows[..., -1], vocab)  # past the end, where it is dropped
    rows = jnp.arange(len(ids))[:, None]
    return jnp.zeros((len(ids), vocab), bool).at[rows, token].set(True, mode="drop")
