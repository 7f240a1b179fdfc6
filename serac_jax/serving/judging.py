"""The reader that judges, as the service calls it: pairs of texts in, scores and verdicts out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
import numpy as np
from jaxtyping import Array, Float

from serac_jax.core.batch import Layout, Tokens
from serac_jax.editors.adapter_serac.judge import FOLLOWS, SAME, UNRELATED, Judge
from serac_jax.edits.records import Edit
from serac_jax.models import adapters
from serac_jax.models.linear import Intervention
from serac_jax.serving import scope_score
from serac_jax.serving.classifiers import Judgement
from serac_jax.serving.editor_spec import JudgeSpec
from serac_jax.serving.readers import History, TextReader
from serac_jax.text.buckets import chunks, shard_rows, tokens
from serac_jax.text.encoder import Encoder

STEP = 32  # widths of pairs are multiples of it
VERDICTS = {SAME: "same", FOLLOWS: "follows", UNRELATED: "unrelated"}


class JudgingReader(TextReader):
    """The base model with the reader's adapter: it judges pairs, and answers what follows."""

    def __init__(self, judge: Judge, params: Any, adapter: Any, encoder: Encoder, spec: JudgeSpec):
        super().__init__(judge.reader, params, encoder)
        self.adapter, self.spec, self.judge = adapter, spec, judge
        self.limit: int | None = spec.proposals

        def verdicts(
            params: Any, adapter: Any, edits: Tokens, questions: Tokens, width: int, count: int
        ) -> Float[Array, "n 3"]:
            layout = Layout(width, context_fill=min(count / (width * len(edits.ids)), 1.0))
            change = adapters.interventions(adapter)
            return judge.verdicts(params, change, edits, questions, layout)

        self.verdicts = jax.jit(verdicts, static_argnums=(4, 5))

    def prompt(self, question: str, history: History = (), edit: Edit | None = None) -> list[int]:
        """Behind an edit and a question stands the verdict that an answer follows."""
        read = super().prompt(question, history, edit)
        return read if edit is None else [*read, self.judge.words[FOLLOWS]]

    @property
    def change(self) -> Mapping[str, Intervention]:
        return adapters.interventions(self.adapter)

    @property
    def joined(self) -> list[int]:
        """The widths of the editor, with the verdict."""
        return [width + 1 for width in super().joined]

    def read_pairs(self, pairs: Sequence[tuple[Edit, str]]) -> list[list[float]]:
        """Log-probabilities of the verdicts on each pair. Pairs of like lengths are read together,
        and only their real tokens are computed."""
        edits = self.contexts([edit for edit, _ in pairs])
        limit = self.encoder.question_widths[-1]
        questions = self.encoder.form.questions([question for _, question in pairs], limit)
        length = [len(one) + len(other) for one, other in zip(edits, questions, strict=True)]
        order = sorted(range(len(pairs)), key=length.__getitem__)
        found: dict[int, list[float]] = {}
        for group in chunks(order):
            read = (
                tokens([edits[at] for at in group], (self.trained("stated")[-1],)),
                tokens([questions[at] for at in group], (self.trained("query")[-1],)),
            )
            count = int(sum(part.mask.sum() for part in read))
            placed = (shard_rows(self.params, part) for part in read)
            if self.several_devices:
                count = sum(part.ids.size for part in read)
            width = STEP * -(-length[group[-1]] // STEP)
            said = cast(
                Array, self.verdicts(self.params, self.adapter, *placed, width, rounded(count))
            )
            rows = cast(np.ndarray, jax.device_get(said))[: len(group)]
            found |= dict(zip(group, rows.tolist(), strict=True))
        return [found[at] for at in range(len(pairs))]

    def views(
        self, pairs: Sequence[tuple[Edit, str]], similarities: Sequence[float]
    ) -> Float[np.ndarray, "n f"]:
        """What the scores of pairs are made of, see `scope_score.views`."""
        rows = zip(pairs, similarities, self.read_pairs(pairs), strict=True)
        return np.array(
            [
                scope_score.views(edit.prompt, edit.answer, question, cosine(similarity), verdict)
                for (edit, question), similarity, verdict in rows
            ]
        )

    def score(
        self, pairs: Sequence[tuple[Edit, str]], similarities: Sequence[float]
    ) -> list[Judgement]:
        """The score and the verdict of each pair; those below the border are not read.

        Args:
            similarities: of the embedding classifier, exp(cosine − 1).
        """
        near = [at for at, value in enumerate(similarities) if cosine(value) > self.spec.border]
        read = self.read_pairs([pairs[at] for at in near]) if near else []
        found = [Judgement(0.0, VERDICTS[UNRELATED])] * len(pairs)
        for at, verdict in zip(near, read, strict=True):
            edit, question = pairs[at]
            score = 1 - math.exp(min(verdict[UNRELATED], 0.0))
            if weights := self.spec.weights:
                seen = scope_score.views(
                    edit.prompt, edit.answer, question, cosine(similarities[at]), verdict
                )
                score = scope_score.combined(seen, weights)
            said = SAME if verdict[SAME] >= verdict[FOLLOWS] else FOLLOWS
            found[at] = Judgement(score, VERDICTS[said])
        return found


def rounded(count: int) -> int:
    """The least of 64, 96, 128, 192, 256, … that is no smaller: few programs are compiled, which
    compute at most a half more than is read."""
    power = 64
    while power < count:
        if power + power // 2 >= count:
            return power + power // 2
        power *= 2
    return power


def cosine(similarity: float) -> float:
    """The cosine that a similarity of the embedding classifier stands for."""
    return 1 + math.log(max(similarity, 1e-9))
