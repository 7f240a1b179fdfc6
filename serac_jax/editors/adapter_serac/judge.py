"""The reader that judges: one causal model reads an edit and a question, and first says how the
question stands to the edit.

Its verdict is one token. "same" means that the question asks what the edit states, so that the
stored answer is the answer; "follows" that the answer follows from the edit, and comes next;
"unrelated" that the edit does not settle it. The probability of "unrelated" is a cross-attention
scope classifier (Mitchell et al. 2022, section 3.1) that the reader brings along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from serac_jax.core.batch import NOTHING_KNOWN, Examples, Layout, Tokens, splice
from serac_jax.core.errors import UserError
from serac_jax.core.types import Params
from serac_jax.editors.serac.reader import Reader
from serac_jax.models import Model
from serac_jax.models.linear import Intervention
from serac_jax.text.tokens import bare

WORDS = (" same", " follows", " unrelated")  # what the reader says, by the numbers below
SAME, FOLLOWS, UNRELATED = range(3)


class Judge(NamedTuple):
    """A reader with an adapter, and the tokens of its verdicts.

    Attributes:
        reader: the base model, and how it reads an edit before a question.
        words: the ids of the verdicts.
    """

    reader: Reader
    words: tuple[int, int, int]

    @property
    def model(self) -> Model:
        return self.reader.model

    def verdicts(
        self,
        params: Params,
        change: Mapping[str, Intervention],
        edits: Tokens,
        questions: Tokens,
        layout: Layout = NOTHING_KNOWN,
    ) -> Float[Array, "n 3"]:
        """Log-probabilities of the verdicts on pairs of an edit and a question.

        Args:
            params: of the base model.
            change: the reader's adapter, as interventions.
        """
        read = self.reader.joined(edits, questions, layout)
        blank = jnp.zeros((read.ids.shape[0], 1), jnp.int32)
        asked = Examples(read, read, read, blank, jnp.ones(blank.shape))
        logits = self.model.logits(params, asked, interventions=change)[:, 0]
        return jax.nn.log_softmax(logits[:, jnp.asarray(self.words)])

    def following(self, read: Tokens) -> Tokens:
        """What was read, and the verdict "follows" behind it: the answer comes next."""
        word = jnp.full((read.ids.shape[0], 1), self.words[FOLLOWS], read.ids.dtype)
        return splice(read, Tokens(word, jnp.ones(word.shape, bool)), 0)


def judge(reader: Reader) -> Judge:
    """A reader as a judge. Raises UserError where its tokenizer has no verdicts."""
    return Judge(reader, words_of(reader.model.tokenizer))


def words_of(tokenizer: Any) -> tuple[int, int, int]:
    """The first token of every verdict. Raises UserError where two have the same."""
    same, follows, unrelated = (row[0] for row in bare(tokenizer, WORDS))
    if len({same, follows, unrelated}) < 3:
        raise UserError(
            f"the base model's tokenizer begins two of {', '.join(WORDS)} with the same token, so a"
            " verdict cannot be one token; choose another base model"
        )
    return same, follows, unrelated


def in_scope(verdicts: Float[Array, "*n 3"]) -> Float[Array, "*n"]:
    """The log of how likely a question is in scope: that of every verdict but "unrelated"."""
    return jnp.logaddexp(verdicts[..., SAME], verdicts[..., FOLLOWS])
