"""A model that answers questions, by itself or after reading an edit: words to tokens, a compiled
program, and back to words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from serac_jax.core.batch import Examples, Tokens, splice
from serac_jax.core.errors import UserError
from serac_jax.core.types import Params
from serac_jax.edits.records import Edit
from serac_jax.models import Model
from serac_jax.models.generate import generate
from serac_jax.text.buckets import chunks, shard_rows, tokens
from serac_jax.text.encoder import Encoder
from serac_jax.text.tokens import cut, prefix_token_count


class Reader:
    """Answers in batches; each pair of a number of rows, a power of two, and a width compiles
    once."""

    def __init__(self, model: Model, params: Params, encoder: Encoder):
        self.params, self.encoder = params, encoder
        steps, opening = encoder.label_widths[-1], prefix_token_count(encoder.base)

        def answer(params: Params, inputs: Tokens) -> Int[Array, "n s"]:
            if model.decodes:
                return generate(model, params, inputs, steps=steps)
            blank = jnp.zeros((inputs.ids.shape[0], 1), jnp.int32)
            return model.logits(
                params, Examples(inputs, inputs, inputs, blank, jnp.ones(blank.shape))
            ).argmax(-1)

        def answer_after(params: Params, context: Tokens, inputs: Tokens) -> Int[Array, "n s"]:
            return answer(params, splice(context, inputs, opening))

        self.answer, self.answer_after = jax.jit(answer), jax.jit(answer_after)

    def __call__(self, questions: Sequence[str]) -> list[str]:
        """What the model says by itself."""
        return [
            text
            for group in chunks(questions)
            for text in self.words(
                self.answer(self.params, shard_rows(self.params, self.inputs(group))), len(group)
            )
        ]

    def after(self, edits: Sequence[Edit], questions: Sequence[str]) -> list[str]:
        """What it says to each question after reading the edit beside it."""
        texts: list[str] = []
        for pairs in chunks(list(zip(edits, questions, strict=True))):
            context = tokens(self.contexts([edit for edit, _ in pairs]), self.context_widths)
            read = (
                shard_rows(self.params, part)
                for part in (context, self.inputs([question for _, question in pairs]))
            )
            texts += self.words(self.answer_after(self.params, *read), len(pairs))
        return texts

    @property
    def context_widths(self) -> tuple[int, ...]:
        return tuple(width + self.encoder.label_widths[-1] for width in self.encoder.text_widths)

    def inputs(self, questions: Sequence[str]) -> Tokens:
        return tokens(
            cut(self.encoder.base, list(questions), self.encoder.text_widths[-1]),
            self.encoder.text_widths,
        )

    def contexts(self, edits: Sequence[Edit]) -> list[list[int]]:
        questions = cut(
            self.encoder.base, [edit.prompt for edit in edits], self.encoder.text_widths[-1]
        )
        # the answer is not read, so it need not be a class: the edit may be of another editor's
        # memory
        if self.encoder.classes:
            return self.encoder.contexts(questions, [[]] * len(edits))
        return self.encoder.contexts(questions, [spelled(edit, self.encoder) for edit in edits])

    def input_of(self, edit: Edit, question: str) -> str:
        """The text that the model reads."""
        stated = [] if self.encoder.classes else [edit.answer]
        return " ".join([self.seen(edit.prompt), *stated, self.seen(question)])

    def seen(self, text: str) -> str:
        """A text as it is, or, where it is too long, the part that is read, as its tokens spell
        it."""
        tokenizer, width = self.encoder.base, self.encoder.text_widths[-1]
        whole, (kept,) = tokenizer(text)["input_ids"], cut(tokenizer, [text], width)
        return (
            text
            if len(kept) == len(whole)
            else f"{tokenizer.decode(kept, skip_special_tokens=True)} …"
        )

    def words(self, answers: Int[Array, "n s"], count: int) -> list[str]:
        return [self.encoder.words(answer) for answer in jax.device_get(answers)[:count]]


def spelled(edit: Edit, encoder: Encoder) -> list[int]:
    """The tokens of an edit's answer. Raises UserError where they are more than a model says: cut,
    it would be another answer."""
    ids, limit = encoder.base(edit.answer)["input_ids"], encoder.label_widths[-1]
    if len(ids) > limit:
        raise UserError(
            f"edit {edit.id[:8]}: the answer {edit.answer[:60]!r} has {len(ids)} tokens, more than"
            f" the {limit} that this editor can say; shorten it"
        )
    return ids


class CallableModel:
    """A base model that is a function from a text to a text: a pipeline, a model behind HTTP. It
    reads an edit as words before the question."""

    def __init__(self, say: Callable[[str], str]):
        self.say = say

    def __call__(self, questions: Sequence[str]) -> list[str]:
        return [self.said(question) for question in questions]

    def after(self, edits: Sequence[Edit], questions: Sequence[str]) -> list[str]:
        return [
            self.said(self.input_of(edit, question))
            for edit, question in zip(edits, questions, strict=True)
        ]

    def input_of(self, edit: Edit, question: str) -> str:
        return f"{edit.prompt} {edit.answer} {question}"

    def said(self, question: str) -> str:
        answer = self.say(question)
        if not isinstance(answer, str):
            raise UserError(
                f"the base model that was given to `load` returned {type(answer).__name__} for"
                f" {question[:60]!r}; it should return a text"
            )
        return answer
