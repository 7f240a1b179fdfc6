"""What all requests of one server share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

import structlog
from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from serac_jax.core.errors import UserError
from serac_jax.server import inject
from serac_jax.server.engine import Engine
from serac_jax.server.measures import Measures
from serac_jax.server.problems import Problem
from serac_jax.server.settings import Settings
from serac_jax.server.tenants import KeyFile, Tenant
from serac_jax.serving.service import EditorService

LOOK = 0.5  # seconds between two looks at the files that others may change
log = structlog.get_logger()


@dataclass
class Context:
    """The state of a server.

    Attributes:
        keys: None: nobody needs a key.
        template: of `inject`.
        ready: whether programs are compiled.
        trouble: why the memory, or the keys, cannot be read now; questions are answered by the
            edits that were read last.
    """

    settings: Settings
    editor: EditorService
    engine: Engine
    measures: Measures
    keys: KeyFile | None
    template: str
    ready: bool = False
    trouble: str = field(default="", init=False)

    def look(self) -> None:
        """Follows what others changed: the memory, by the shell, git or another process, and the
        keys."""
        trouble = ""
        try:
            self.editor.memory.refresh()
        except UserError as error:
            trouble = str(error)
        try:
            self.editor.follow()  # also where the memory cannot be read: edits expire
            if self.keys:
                self.keys.refresh()
        except UserError as error:
            trouble = trouble or str(error)
        if trouble != self.trouble:
            log.warning("trouble", reason=trouble) if trouble else log.info("trouble_over")
        self.trouble = trouble
        self.measures.edits.set(len(self.editor.memory.edits))

    def unreadable(self) -> str:
        """Why the memory cannot be read now; "" where it can."""
        self.look()
        return self.trouble

    def reload(self) -> None:
        """Reads again all files that were given: on SIGHUP."""
        self.look()
        try:
            self.template = inject.read_template(self.settings.template)
        except UserError as error:
            log.warning("trouble", reason=str(error))
        log.info("reloaded", edits=len(self.editor.memory.edits))

    async def watch(self) -> None:
        """Looks at the files until it is cancelled."""
        while True:
            try:
                await run_in_threadpool(self.look)
            except Exception as error:  # a disk that fails: the next look may succeed
                self.trouble = f"{type(error).__name__}: {error}"[:200]
                log.exception("look")
            await asyncio.sleep(LOOK)


def context_of(request: Request) -> Context:
    """The state of the server that got a request."""
    return request.app.state.context


def tenant_of(request: Request) -> Tenant:
    """Who sent a request, as `access` found out."""
    return request.scope["state"]["tenant"]


def editing(request: Request) -> Tenant:
    """Who sent a request that changes edits. Raises Problem where the key may not."""
    if not (tenant := tenant_of(request)).may_edit:
        raise Problem(403, "this key may ask, but not change edits", "forbidden")
    return tenant


Here = Annotated[Context, Depends(context_of)]
Asking = Annotated[Tenant, Depends(tenant_of)]
Editing = Annotated[Tenant, Depends(editing)]
