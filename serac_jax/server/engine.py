"""From a question to a reply: the router decides, then an edit, the base model or the upstream
answers. All requests share one engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import NamedTuple

from serac_jax.core.errors import UserError
from serac_jax.edits.records import Edit
from serac_jax.index.tags import Tags
from serac_jax.server.batching import Batcher
from serac_jax.server.measures import Measures
from serac_jax.server.problems import Problem
from serac_jax.server.speaking import Said, Speaker, speaks
from serac_jax.server.stopping import Until
from serac_jax.server.upstream import Upstream
from serac_jax.serving.answers import Answer, Near, Why
from serac_jax.serving.readers import Answering, History, TextReader
from serac_jax.serving.service import EditorService
from serac_jax.serving.verdict import NOTHING_NEAR, Verdict, answered
from serac_jax.text.tokens import bare

MOST = 32  # questions that a program reads at once: more would make the first wait for the last


MOST_TOKENS = 1024  # of an answer, whatever a request asks for


class Asked(NamedTuple):
    """A question, and what it sees: see `index.tags`."""

    question: str
    tags: Tags


class Piece(NamedTuple):
    """A part of an answer; the last one says why the answer ended, "stop" or "length"."""

    text: str
    reason: str = "stop"


class Told(NamedTuple):
    """What is answered.

    Attributes:
        question: what is asked.
        history: earlier turns of the conversation, which the router doesn't read.
        limit: the most tokens that are generated; None: the editor's own number.
        stops: texts before which an answer ends that no edit gives.
    """

    question: str
    history: History = ()
    limit: int | None = None
    stops: Sequence[str] = ()


def told(
    question: str, history: History = (), limit: int | None = None, stops: Sequence[str] = ()
) -> Told:
    """What a request tells, with a limit that is kept whatever it asks for."""
    most = None if limit is None else min(limit, MOST_TOKENS)
    return Told(question, tuple(history), most, stops)


class Engine:
    """Answers the questions of many requests at once.

    Args:
        editor: whose router decides, and whose reader answers by edits.
        upstream: what answers other questions; None: the editor's base model.

    Attributes:
        limit: seconds that an answer may take to begin, and to go on; None while programs are
            compiled.
    """

    def __init__(self, editor: EditorService, upstream: Upstream | None, measures: Measures):
        self.editor, self.upstream, self.measures = editor, upstream, measures
        self.limit: float | None = None
        self.routing = Batcher(self.decide_all, MOST, "route")
        # Readers that cannot be interrupted between two tokens answer batch by batch.
        self.generating = Batcher(self.texts_of, MOST, "generate")
        self.base = speaker(editor.base, False) if upstream is None else None
        self.reader = speaker(editor.reader, True)

    async def decide(self, question: str, tags: Tags) -> Verdict:
        """Which edit, if any, answers a question, by the edits as they are at some moment between
        the call and the return."""
        if self.editor.memory.surely_empty():
            return NOTHING_NEAR
        with self.measures.stage("route"):
            async with in_time(self.limit):
                return await self.routing(Asked(question, tags))

    async def pieces(self, told: Told, verdict: Verdict) -> AsyncGenerator[Piece]:
        """The answer that a verdict leads to, as it comes."""
        edit = verdict.first.edit if verdict.first and verdict.hit else None
        speaker = self.reader if edit else self.base
        if edit and verdict.first and verdict.first.verdict == "same":
            yield Piece(edit.answer)
        elif self.upstream and not edit:
            with self.measures.stage("upstream"):
                yield Piece(await self.upstream.say(told.question, told.history, told.limit))
        elif speaker is None:
            with self.measures.stage("generate"):
                async with in_time(self.limit):
                    text = await self.generating((told, verdict))
            yield Piece(text if edit else Until(told.stops).whole(text))
        else:
            said, until = begun(speaker, told, edit), Until(() if edit else told.stops)
            with self.measures.stage("generate"):
                async with aclosing(speaker.pieces(said)) as pieces:
                    async for text in in_time_each(self.limit, pieces):
                        yield Piece(until.add(text))
                        if until.over:  # leaves the decoding
                            yield Piece("")
                            return
            yield Piece(until.rest(), said.reason)

    def check_length(self, told: Told, verdict: Verdict) -> None:
        """Raises Problem for a conversation that is longer than what the model reads."""
        edit = verdict.first.edit if verdict.first and verdict.hit else None
        if speaker := self.reader if edit else self.base:
            begun(speaker, told, edit)

    async def say(self, told: Told, verdict: Verdict) -> Piece:
        """The whole answer that a verdict leads to."""
        async with aclosing(self.pieces(told, verdict)) as pieces:
            found = [piece async for piece in pieces]
        return Piece("".join(piece.text for piece in found), found[-1].reason)

    async def ask(self, told: Told, tags: Tags) -> Answer:
        """A question's answer."""
        verdict = await self.decide(told.question, tags)
        text = (await self.say(told, verdict)).text
        self.count(verdict)
        return answered(told.question, text, verdict, str)

    async def why(self, told: Told, tags: Tags) -> Why:
        """What decides a question's answer, see `EditorService.why`."""
        question, history = told.question, told.history
        verdict = await self.decide(question, tags)
        text = (await self.say(told, verdict)).text
        answer, threshold = answered(question, text, verdict, str), self.editor.thresholds.threshold
        alone, near = verdict._replace(hit=False), verdict.first
        base = (await self.say(told, alone)).text if verdict.hit else text
        reads = self.editor.reader.input_of(near.edit, question, history) if near else ""
        return Why(answer, threshold, answer.score - threshold, reads, base)

    def count(self, verdict: Verdict) -> None:
        """Counts an answer."""
        edit_id = verdict.first.edit.id if verdict.hit and verdict.first else None
        self.measures.answered(edit_id, "upstream" if self.upstream else "base", verdict.unsure)

    def usage(self, question: str, text: str) -> dict[str, int]:
        """Numbers of tokens, as OpenAI's interface tells them."""
        asked, said = map(len, bare(self.editor.encoder.base, [question, text]))
        return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}

    def decide_all(self, asked: Sequence[Asked]) -> list[Verdict]:
        """Decides on several questions, in the router's thread."""
        return self.editor.decide([one.question for one in asked], [one.tags for one in asked])

    def texts_of(self, decided: Sequence[tuple[Told, Verdict]]) -> list[str]:
        """Answers several questions, in the thread of generation."""
        found: dict[int, str] = {}
        for limit in {told.limit for told, _ in decided}:  # seldom more than one
            places = [at for at, (told, _) in enumerate(decided) if told.limit == limit]
            rows = [decided[at] for at in places]
            texts = self.editor.texts(
                [told.question for told, _ in rows],
                [verdict for _, verdict in rows],
                [told.history for told, _ in rows],
                limit,
            )
            found |= dict(zip(places, texts, strict=True))
        return [found[at] for at in range(len(decided))]

    async def warm_up(self) -> None:
        """Compiles the programs of the first questions."""
        matcher, loop = self.editor.matcher, asyncio.get_running_loop()
        edit = self.editor.memory.make("Who?", "Nobody")
        count = 1
        while count <= MOST:
            asked = ["Who?"] * count
            work = partial(matcher.nearest, asked, [None] * count)
            await loop.run_in_executor(self.routing.thread, work)
            await loop.run_in_executor(self.routing.thread, matcher.alike, [edit] * count)
            count *= 2
        for hit in (True, False) if self.upstream is None else (True,):
            verdict = Verdict(Near(edit, 1.0), None, hit, False)
            for count in (1, 4, 16, MOST):  # as many slots as there are, see `Slots.slots_for`
                await asyncio.gather(*(self.say(Told("Who?"), verdict) for _ in range(count)))

    async def close(self) -> None:
        """Ends its threads, and the connections to the upstream."""
        self.routing.close()
        self.generating.close()
        for speaker in (self.base, self.reader):
            if speaker:
                speaker.close()
        if self.upstream:
            await self.upstream.close()


@asynccontextmanager
async def in_time(seconds: float | None) -> AsyncGenerator[None]:
    """Raises a Problem where what is inside takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Problem(504, "the answer took too long; try again", "timeout") from error


def begun(speaker: Speaker, told: Told, edit: Edit | None) -> Said:
    """An answer that a speaker begins. Raises Problem for a conversation that is too long."""
    try:
        return speaker.begin(told.question, told.history, edit, told.limit)
    except UserError as error:
        raise Problem(400, str(error), "context_length_exceeded", "messages") from error


async def in_time_each(seconds: float | None, pieces: AsyncGenerator[str]) -> AsyncGenerator[str]:
    """The pieces, each of which has to come within the limit."""
    while True:
        async with in_time(seconds):
            try:
                piece = await anext(pieces)
            except StopAsyncIteration:
                return
        yield piece


def speaker(reader: Answering, after: bool) -> Speaker | None:
    """What generates a reader's answers token by token, where that is possible."""
    return (
        Speaker(reader, after, MOST) if isinstance(reader, TextReader) and speaks(reader) else None
    )
