"""Answers that are generated token by token, those of many requests together."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field

from serac_jax.edits.records import Edit
from serac_jax.models.continuous import Slots, is_plain
from serac_jax.serving.readers import Answering, History, TextReader

TOGETHER = 4  # prompts that are read between two tokens
END = -1  # told in place of a token
UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what a letter looks like of which tokens are missing


@dataclass(eq=False)
class Said:
    """An answer that is being generated.

    Attributes:
        prompt: the ids that are read.
        limit: the most tokens that are said.
        reason: why it ended, as OpenAI's interface tells it: "stop" or "length".
        loop, told: where its tokens are told.
        gone: whether nobody waits for it any more.
    """

    prompt: list[int]
    limit: int
    reason: str = "stop"
    count: int = 0
    gone: bool = False
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    told: asyncio.Queue[int | Exception] = field(default_factory=asyncio.Queue)

    def tell(self, token: int | Exception) -> None:
        """Tells the request one more token, or how it ended."""
        self.loop.call_soon_threadsafe(self.told.put_nowait, token)


class Speaker:
    """Generates answers in a thread of its own. A request joins at the next token, and leaves when
    its answer ends or its client goes: nobody waits for a neighbour's end.

    Args:
        reader: one for which `speaks`.
        after: whether it reads edits.
        most: answers that are generated at once.
    """

    def __init__(self, reader: TextReader, after: bool, most: int):
        self.reader, self.most = reader, most
        self.widths = reader.joined if after else reader.trained("query")
        change = reader.change if after else {}
        self.slots: Slots[Said] = Slots(reader.model, reader.params, change, most)
        self.ends = frozenset(reader.model.ends)
        self.waiting, self.changed = deque[Said](), threading.Condition()
        self.closing = False
        self.thread = threading.Thread(target=self.work, name="speak", daemon=True)
        self.thread.start()

    def begin(self, question: str, history: History, edit: Edit | None, limit: int | None) -> Said:
        """An answer whose `pieces` are waited for.

        Raises:
            UserError: what is read is longer than what the model reads.
        """
        most = limit or self.reader.encoder.answer_widths[-1]
        said = Said(self.reader.prompt(question, history, edit), most)
        self.reader.check_length(len(said.prompt), self.reader.steps(limit))
        return said

    async def pieces(self, said: Said) -> AsyncGenerator[str]:
        """The answer's text as it comes; a letter of several tokens comes whole."""
        with self.changed:
            self.waiting.append(said)
            self.changed.notify()
        ids, text, told = list[int](), "", ""
        try:
            while (token := await said.told.get()) != END:
                if isinstance(token, Exception):
                    raise token
                ids.append(token)
                text = self.reader.encoder.words(ids)
                if len(text) > len(told) and not text.endswith(UNFINISHED):
                    yield text[len(told) :]
                    told = text
            if len(text) > len(told):
                yield text[len(told) :]
        finally:
            said.gone = True

    def work(self) -> None:
        """Generates until it is closed."""
        while True:
            with self.changed:
                while not (self.waiting or self.slots.active or self.closing):
                    self.changed.wait()
                if self.closing:
                    return
                new = self.joining()
            try:
                if new:
                    self.tell(self.admit(new))
                self.tell(self.slots.step())
            except Exception as error:
                for said in {*new, *self.slots.rows} - {None}:
                    said.tell(error)
                self.slots.clear()

    def joining(self) -> list[Said]:
        """Those that wait, as far as there is room; a few, so that the others say their next token
        soon, and few programs are compiled."""
        new: list[Said] = []
        room = min(self.most - self.slots.active, TOGETHER)
        while self.waiting and len(new) < room:
            said = self.waiting.popleft()
            if not said.gone:
                new.append(said)
        return new

    def admit(self, new: list[Said]) -> dict[Said, int]:
        """Reads the prompts of new answers; their first tokens."""
        room = self.reader.steps(max(said.limit for said in new))
        prompts = [said.prompt for said in new]
        read, prefix = self.reader.read(prompts, self.widths, room, self.slots.change)
        return self.slots.admit(new, read, prefix, room)

    def tell(self, tokens: Mapping[Said, int]) -> None:
        """Tells answers their next tokens, and lets those go that end."""
        for said, token in tokens.items():
            said.count += 1
            ended = token in self.ends
            said.tell(token)
            if not ended and said.count >= said.limit:
                said.reason, ended = "length", True
            if ended:
                said.tell(END)
            if ended or said.gone:
                self.slots.release(said)

    def close(self) -> None:
        """Ends the thread after the next token."""
        with self.changed:
            self.closing = True
            self.changed.notify()


def speaks(reader: Answering) -> bool:
    """Whether a reader's answers can be generated token by token, on one device."""
    return isinstance(reader, TextReader) and is_plain(reader.model) and not reader.several_devices
