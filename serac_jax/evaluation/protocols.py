"""The scores that others publish, each a function of logits or of predictions.

They are not comparable with one another: teacher forcing shows a model the right answer up to the
token that it is asked for, and comparing two probabilities needs no right answer at all. The scores
by kinds (`fact_results`) are of free generation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from serac_jax.text.squad import right

STOPS = re.compile(r"[.\n]|</s>|<\|endoftext\|>")  # of Yang et al. 2025
Rows = Float[Array, " n"]
Logits = Float[Array, "n t v"]
Labels = Int[Array, "n t"]
Weight = Float[Array, "n t"]


def easyedit_accuracy(logits: Logits, labels: Labels, weight: Weight) -> Rows:
    """The share of an answer's tokens that are the most likely ones under teacher forcing.

    EasyEdit (Wang et al. 2024) calls it rewrite_acc for prompts, rephrase_acc for rephrasings and
    portability for what follows. It counts no token that ends an answer: give that weight 0.
    """
    return share((logits.argmax(-1) == labels).astype(jnp.float32), weight)


def easyedit_locality(before: Logits, after: Logits, weight: Weight) -> Rows:
    """The share of a true answer's tokens whose most likely token the edit did not change, under
    teacher forcing (EasyEdit, Wang et al. 2024)."""
    return share((before.argmax(-1) == after.argmax(-1)).astype(jnp.float32), weight)


def share(value: Weight, weight: Weight) -> Rows:
    """The weighted mean of each row; 0 where no position counts."""
    count = weight.sum(-1)
    return (value * weight).sum(-1) / jnp.where(count > 0, count, 1.0)


class Efficacy(NamedTuple):
    """What ROME, MEMIT and AlphaEdit report of a prompt.

    Attributes:
      success: 1 where the wanted answer is the more likely one: ES on prompts, PS on rephrasings,
        NS on neighbours.
      magnitude: By how much its probability exceeds the other's: EM, PM, NM.
    """

    success: Rows
    magnitude: Rows


def rome_probability(logits: Logits, labels: Labels, weight: Weight) -> Rows:
    """An answer's probability as ROME has it: the geometric mean over its tokens."""
    each = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)[..., 0]
    return jnp.exp(share(each, weight))


def rome_efficacy(wanted: Rows, other: Rows) -> Efficacy:
    """Compares two answers (Meng et al. 2022).

    Args:
      wanted: The probability of the new answer in scope, of the true one on neighbours.
      other: That of the true answer in scope, of the new one on neighbours.
    """
    return Efficacy((wanted > other).astype(jnp.float32), wanted - other)


def rome_score(efficacy: float, paraphrase: float, neighborhood: float) -> float:
    """S: the harmonic mean of ES, PS and NS; 0 where one of them is (Meng et al. 2022)."""
    parts = efficacy, paraphrase, neighborhood
    return 3 / sum(1 / part for part in parts) if min(parts) > 0 else 0.0


def wild_text(answer: str) -> str:
    """A generated answer up to the first full stop, line end or end of text."""
    return STOPS.split(answer.strip(), maxsplit=1)[0].strip()


def wild_right(answer: str, accepted: Iterable[str]) -> bool:
    """WILD (Yang et al. 2025), without a judge: greedy generation, cut by stop rules, equals an
    accepted answer after SQuAD's normalisation."""
    return right(wild_text(answer), accepted)
