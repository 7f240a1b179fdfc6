"""Requests that wait are worked on together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from serac_jax.core.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Calls a function on all items that wait, in a thread of its own.

    Nobody waits for a batch to fill: an item that finds the thread idle goes alone, and those that
    come meanwhile go together. An item whose request was cancelled before is dropped.

    Args:
        function: from items to as many results.
        most: items of one call.
        name: of the thread.
    """

    def __init__(self, function: Callable[[list[Item]], Sequence[Result]], most: int, name: str):
        self.function, self.most = function, most
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self.waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self.working: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """The result of one item."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.waiting.append((item, future))
        if self.working is None:
            self.working = asyncio.create_task(self.work())
        return await future

    async def work(self) -> None:
        """Works until nothing waits."""
        try:
            while batch := self.take():
                await self.settle(batch)
        finally:
            self.working = None

    def take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """The next items."""
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self.waiting and len(batch) < self.most:
            item, future = self.waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    async def settle(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        """Gives every item of a batch its result. One that is refused is refused alone."""
        loop, items = asyncio.get_running_loop(), [item for item, _ in batch]
        try:
            results = await loop.run_in_executor(self.thread, self.function, items)
        except Exception as error:
            if isinstance(error, UserError) and len(batch) > 1:
                for one in batch:
                    await self.settle([one])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)

    def close(self) -> None:
        """Ends the thread when it has finished what it does."""
        self.thread.shutdown(wait=False, cancel_futures=True)
