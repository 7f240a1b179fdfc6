"""From a question to a reply: the router decides, then an edit, the base model or the upstream
answers. All requests share one engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import NamedTuple

from serac_jax.index.tags import Tags
from serac_jax.server.batching import Batcher
from serac_jax.server.measures import Measures
from serac_jax.server.problems import Problem
from serac_jax.server.upstream import Upstream
from serac_jax.serving.answers import Answer, Verdict, Why, answered
from serac_jax.serving.service import EditorService
from serac_jax.text.tokens import bare

MOST = 32  # questions that a program reads at once: more would make the first wait for the last


class Asked(NamedTuple):
    """A question, and what it sees: see `index.tags`."""

    question: str
    tags: Tags


class Engine:
    """Answers the questions of many requests at once.

    Args:
        editor: whose router decides, and whose reader answers by edits.
        upstream: what answers other questions; None: the editor's base model.
        timeout: seconds that an answer may take to begin.
    """

    def __init__(
        self, editor: EditorService, upstream: Upstream | None, measures: Measures, timeout: float
    ):
        self.editor, self.upstream, self.measures = editor, upstream, measures
        self.timeout = timeout
        self.routing = Batcher(self.decide_all, MOST, "route")
        self.generating = Batcher(self.texts_of, MOST, "generate")

    async def decide(self, question: str, tags: Tags) -> Verdict:
        """Which edit, if any, answers a question, by the edits as they are at some moment between
        the call and the return."""
        with self.measures.stage("route"):
            async with in_time(self.timeout):
                return await self.routing(Asked(question, tags))

    async def pieces(self, question: str, verdict: Verdict) -> AsyncGenerator[str]:
        """The answer that a verdict leads to, as it comes."""
        first = verdict.first
        if verdict.hit and first and first.verdict == "same":
            yield first.edit.answer
        elif self.upstream and not verdict.hit:
            with self.measures.stage("upstream"):
                yield await self.upstream.say(question)
        else:
            with self.measures.stage("generate"):
                async with in_time(self.timeout):
                    text = await self.generating((question, verdict))
            yield text

    async def say(self, question: str, verdict: Verdict) -> str:
        """The whole answer that a verdict leads to."""
        async with aclosing(self.pieces(question, verdict)) as pieces:
            return "".join([piece async for piece in pieces])

    async def ask(self, question: str, tags: Tags) -> Answer:
        """A question's answer."""
        verdict = await self.decide(question, tags)
        text = await self.say(question, verdict)
        self.count(verdict)
        return answered(question, text, verdict, str)

    async def why(self, question: str, tags: Tags) -> Why:
        """What decides a question's answer, see `EditorService.why`."""
        verdict = await self.decide(question, tags)
        text = await self.say(question, verdict)
        answer, threshold = answered(question, text, verdict, str), self.editor.thresholds.threshold
        base = await self.say(question, verdict._replace(hit=False)) if verdict.hit else text
        reads = self.editor.reader.input_of(verdict.first.edit, question) if verdict.first else ""
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

    def texts_of(self, decided: Sequence[tuple[str, Verdict]]) -> list[str]:
        """Answers several questions, in the thread of generation."""
        return self.editor.texts([one for one, _ in decided], [verdict for _, verdict in decided])

    async def warm_up(self) -> None:
        """Compiles the programs of the first questions."""
        count = 1
        while count <= MOST:
            asked = [Asked("Who?", None)] * count
            await asyncio.get_running_loop().run_in_executor(
                self.routing.thread, self.decide_all, asked
            )
            count *= 2

    async def close(self) -> None:
        """Ends its threads, and the connections to the upstream."""
        self.routing.close()
        self.generating.close()
        if self.upstream:
            await self.upstream.close()


@asynccontextmanager
async def in_time(seconds: float) -> AsyncGenerator[None]:
    """Raises a Problem where what is inside takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Problem(504, "the answer took too long; try again", "timeout") from error
