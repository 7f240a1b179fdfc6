"""Templates: how questions, answers and edits become the tokens that a network reads.

No tokenizer is assumed to open or end a text by itself. A template takes the bare tokens of texts
and says what stands before, between and behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

from serac_jax.core.errors import UserError
from serac_jax.text import chat_template
from serac_jax.text.tokens import (
    LOADED,
    Ids,
    bare,
    cut_to,
    ids,
    prefix_token_count,
    suffix_token_count,
)

Piece = tuple[int, ...]  # token ids that a template adds
Turn = tuple[str, str]  # a question and its answer
Render = Callable[[list[dict[str, str]]], str]  # chat messages -> text that asks for an answer

# A base model that was never trained to answer questions needs a few examples of the form.
EXAMPLES: tuple[Turn, ...] = (
    ("What is the capital of France?", "Paris"),
    ("Who wrote Hamlet?", "William Shakespeare"),
    ("What is the chemical symbol of gold?", "Au"),
    ("In which year did the Second World War end?", "1945"),
    ("Which language is spoken in Brazil?", "Portuguese"),
    ("Is the Moon larger than the Earth?", "No"),
)


class Template(NamedTuple):
    """How texts are put together for one tokenizer.

    With Q and A for the tokens of a question and of an answer:

        a question              opening examples before Q after
        an edit as its context  opening examples before Q between A behind
        an edit and a question  the context, then  before Q after
        an answer to learn      A end

    Attributes:
        opening, before, after, between, behind, end: the tokens named above.
        examples: fixed text behind the opening, which no limit of tokens counts.
        stops: tokens at which a generated answer ends besides `end`: in forms of one line a text,
            all that begin a new line.
        question_space, answer_space: put before a question and an answer before they are tokenised.
            Byte-level vocabularies have one token for " Paris" and another for "Paris".
    """

    tokenizer: Any
    opening: Piece = ()
    examples: Piece = ()
    before: Piece = ()
    after: Piece = ()
    between: Piece = ()
    behind: Piece = ()
    end: Piece = ()
    stops: Piece = ()
    question_space: str = ""
    answer_space: str = ""

    @property
    def shared(self) -> Piece:
        """What every question begins with; behind an edit it is left out (`batch.splice`)."""
        return self.opening + self.examples

    @property
    def lead(self) -> int:
        """How many tokens that is."""
        return len(self.shared)

    @property
    def adds_words(self) -> bool:
        """Whether more than special tokens stand between the texts."""
        return bool(self.before or self.between or self.behind)

    def room(self, limit: int) -> int:
        """How many tokens of a question fit into rows of `limit` tokens besides the examples."""
        return limit - len(self.opening) - len(self.before) - len(self.after)

    def questions(self, texts: Sequence[str], limit: int) -> Ids:
        """Rows of questions, the ends of long ones cut so that no row has more than `limit` tokens
        besides the examples."""
        room = self.room(limit)
        rows = bare(self.tokenizer, [self.question_space + text for text in texts])
        start = [*self.opening, *self.examples, *self.before]
        return [[*start, *cut_to(row, room), *self.after] for row in rows]

    def answers(self, texts: Sequence[str]) -> Ids:
        """Rows of answers as labels."""
        rows = bare(self.tokenizer, [self.answer_space + text for text in texts])
        return [[*row, *self.end] for row in rows]

    def context(
        self, question: Sequence[int], answer: Sequence[int], limit: int | None = None
    ) -> list[int]:
        """An edit as context, from the row of its question and of its answer, both as above.

        Args:
            answer: without its end too; [] for a class, of which nothing is read.
            limit: at most so many tokens besides the examples; the question is cut, the answer is
                not.
        """
        body = list(question[: len(question) - len(self.after)])
        stated = [*self.between, *without_end(answer, self.end), *self.behind]
        if limit is not None:
            body = cut_to(body, max(limit + len(self.examples) - len(stated), self.lead))
        return body + stated

    def context_of(self, turns: Sequence[Turn], limit: int) -> list[int]:
        """Earlier turns of a conversation as context, as an edit is; [] for none."""
        row: list[int] = []
        for asked, answer in turns:
            (said,), (reply,) = self.questions([asked], limit), self.answers([answer])
            row = self.behind_context(row, self.context(said, reply))
        return row

    def behind_context(self, context: list[int], row: list[int]) -> list[int]:
        """A row of a question or of an edit behind what is read before it, opened once."""
        return context + row[self.lead :] if context else row

    def conversation(self, turns: Sequence[Turn], question: str, limit: int) -> list[int]:
        """A question behind earlier turns, as one row; an edit and a question are one turn."""
        (last,) = self.questions([question], limit)
        return self.behind_context(self.context_of(turns, limit), last)


def without_end(row: Sequence[int], end: Piece) -> Sequence[int]:
    """A row without the tokens that end it, if it has them."""
    return row[: len(row) - len(end)] if end and tuple(row[-len(end) :]) == end else row


def special(tokenizer: Any) -> tuple[Piece, Piece]:
    """What a tokenizer itself puts before and behind a text: [CLS] and [SEP], nothing and </s>."""
    (row,) = ids(tokenizer, ["a"])
    opening, closing = prefix_token_count(tokenizer), suffix_token_count(tokenizer)
    return tuple(row[:opening]), tuple(row[len(row) - closing :])


def plain(tokenizer: Any) -> Template:
    """For T5, BERT and Blenderbot: texts as their tokenizer opens and closes them; an edit is
    "question answer", as in Mitchell et al. 2022."""
    opening, closing = special(tokenizer)
    return Template(tokenizer, opening, after=closing, end=closing)


def plain_text(*texts: str) -> str:
    """What `plain` reads, as one text."""
    return " ".join(texts)


def separated(tokenizer: Any) -> Template:
    """For scope classifiers: an edit is "question [SEP] answer [SEP]", closed as any text is."""
    opening, closing = special(tokenizer)
    separator = (tokenizer.sep_token_id,)
    return Template(
        tokenizer, opening, after=closing, between=separator, behind=separator + closing
    )


def question_answer(tokenizer: Any, examples: Sequence[Turn] = EXAMPLES) -> Template:
    """For causal language models: "Question: … Answer: …", a line each, behind examples."""
    shown = "".join(f"Question: {asked}\nAnswer: {answer}\n" for asked, answer in examples)
    return Template(
        tokenizer,
        opening=special(tokenizer)[0],
        examples=piece(tokenizer, shown),
        before=piece(tokenizer, "Question:"),
        after=piece(tokenizer, "\nAnswer:"),
        between=piece(tokenizer, "\nAnswer:"),
        behind=piece(tokenizer, "\n"),
        end=end_of_text(tokenizer),
        stops=line_ends(tokenizer),
        question_space=" ",
        answer_space=" ",
    )


def turns(tokenizer: Any) -> Template:
    """As `question_answer`, without examples: for readers that are trained on the form."""
    return question_answer(tokenizer, ())


def completion(tokenizer: Any) -> Template:
    """For causal language models: a prompt such as "The capital of France is", and how it goes on;
    an edit is a line before it."""
    return Template(
        tokenizer,
        opening=special(tokenizer)[0],
        behind=piece(tokenizer, "\n"),
        end=end_of_text(tokenizer),
        stops=line_ends(tokenizer),
        answer_space=" ",
    )


def chat(tokenizer: Any, render: Render | None = None) -> Template:
    """For chat models: an edit is an earlier turn of the conversation.

    Args:
        render: messages, {"role", "content"} each, as text that ends where the assistant's answer
            begins; None: as the tokenizer's chat template writes them.

    Raises:
        UserError: the tokenizer has no chat template, or it changes or drops the texts of the
            conversation.
    """
    render = render or partial(chat_template.render, tokenizer)
    marks = ("first question", "first answer", "second question")
    roles = ("user", "assistant", "user")
    text = render(
        [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
    )
    parts: list[str] = []
    for mark in marks:
        part, found, text = text.partition(mark)
        if not found:
            raise UserError(
                "the chat template of the tokenizer does not show every turn of a conversation;"
                " choose another template"
            )
        parts.append(part)
    first, between, again = (piece(tokenizer, part) for part in parts)
    shared = common_end(first, again)
    return Template(
        tokenizer,
        opening=(),
        examples=first[: len(first) - shared],
        before=first[len(first) - shared :],
        after=piece(tokenizer, text),
        between=between,
        behind=again[: len(again) - shared],
        end=end_of_text(tokenizer),
    )


def common_end(one: Piece, other: Piece) -> int:
    """How many tokens at the end of both are the same."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def piece(tokenizer: Any, text: str) -> Piece:
    """The bare tokens of a text."""
    return tuple(bare(tokenizer, [text])[0]) if text else ()


@lru_cache(maxsize=LOADED)
def line_ends(tokenizer: Any) -> Piece:
    """The tokens with a line break, in byte-level and in sentence-piece vocabularies."""
    breaks = ("\n", "\u010a", "<0x0A>")
    vocab = tokenizer.get_vocab().items()
    return tuple(sorted(number for token, number in vocab if any(at in token for at in breaks)))


def end_of_text(tokenizer: Any) -> Piece:
    """The token by which a causal model ends an answer. Raises UserError where it has none."""
    if tokenizer.eos_token_id is None:
        raise UserError(
            "the tokenizer names no eos_token, so an answer has no end; name one in its"
            " tokenizer_config.json"
        )
    return (tokenizer.eos_token_id,)


# Templates that need nothing but a tokenizer, by the name that a network or an editor declares.
TEMPLATES: Mapping[str, Callable[[Any], Template]] = {
    "plain": plain,
    "separated": separated,
    "question_answer": question_answer,
    "turns": turns,
    "completion": completion,
    "chat": chat,
}
