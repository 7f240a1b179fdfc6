"""The reader: a model that answers, by itself or after reading an edit.

Training, evaluation and the service use the same object, so that there is one definition of how an
edit and a question are joined.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from serac_jax.core.batch import NOTHING_KNOWN, Examples, Layout, Tokens, packed, splice
from serac_jax.core.types import Params
from serac_jax.models import Model
from serac_jax.models.cache import Prefix
from serac_jax.models.generate import generate
from serac_jax.models.linear import Intervention


class Reader(NamedTuple):
    """A model and how it reads an edit before a question.

    Attributes:
        model: a sequence-to-sequence model, or a classifier.
        lead: how many special tokens open every text of its tokenizer; the edit already has them.
    """

    model: Model
    lead: int

    def joined(self, edits: Tokens, questions: Tokens, layout: Layout = NOTHING_KNOWN) -> Tokens:
        """Each edit ("question answer", unclosed) and the question behind it, as one text."""
        both = splice(edits, questions, self.lead, layout.context)
        return packed(both, layout.context_fill)

    def logits_after(
        self,
        params: Params,
        edits: Tokens,
        queries: Examples,
        key: Array | None = None,
        layout: Layout = NOTHING_KNOWN,
    ) -> Float[Array, "n t v"]:
        """Logits of the queries' labels after reading the edits."""
        read = queries._replace(inputs=self.joined(edits, queries.inputs, layout))
        return self.model.logits(params, read, key)

    def answer(
        self,
        params: Params,
        questions: Tokens,
        steps: int,
        change: Mapping[str, Intervention] = {},
        prefix: Prefix = (),
    ) -> Int[Array, "n s"]:
        """What the model says: tokens by greedy decoding; of a classifier the likeliest class.

        Args:
            change: of the model, by the paths of layers.
            prefix: what every question stands behind, see `Model.prefix`.
        """
        if self.model.decodes:
            return generate(
                self.model, params, questions, steps=steps, interventions=change, prefix=prefix
            )
        blank = jnp.zeros((questions.ids.shape[0], 1), jnp.int32)
        asked = Examples(questions, questions, questions, blank, jnp.ones(blank.shape))
        return self.model.logits(params, asked, interventions=change).argmax(-1)

    def answer_after(
        self, params: Params, edits: Tokens, questions: Tokens, steps: int
    ) -> Int[Array, "n s"]:
        """What it says after reading the edits."""
        return self.answer(params, self.joined(edits, questions), steps)
