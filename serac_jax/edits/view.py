"""The edits as they are now, found by id, by prompt and by expiry."""

from __future__ import annotations

from collections.abc import Mapping

from serac_jax.core.errors import UserError
from serac_jax.edits import records
from serac_jax.edits.changes import apply
from serac_jax.edits.operations import Operation
from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import normal


class View:
    """The edits after a series of operations."""

    def __init__(self) -> None:
        self._edits: dict[str, Edit] = {}
        self._seq = 0
        # ids by normalised prompt; built when it is first needed
        self._prompts: dict[str, dict[str, None]] | None = None
        self._expiring: dict[str, Edit] = {}

    @property
    def edits(self) -> Mapping[str, Edit]:
        """All edits by id, oldest first, expired ones too. Read it again after a change."""
        return self._edits

    @property
    def seq(self) -> int:
        """The number of the last operation; 0 before the first one."""
        return self._seq

    def live(self, time: str | None = None) -> Mapping[str, Edit]:
        """The edits that have not expired at a time, by default now."""
        gone = self.expired(time)
        return (
            {key: edit for key, edit in self._edits.items() if key not in gone}
            if gone
            else self._edits
        )

    def expired(self, time: str | None = None) -> set[str]:
        """Ids of the edits that have expired at a time, by default now."""
        time = records.now() if time is None else time
        return {key for key, edit in self._expiring.items() if records.expired(edit, time)}

    def held(self, edit_id: str) -> Edit | None:
        """The edit with this id, if there is one."""
        return self.edits.get(edit_id)

    def find(self, prefix: str) -> Edit:
        """The edit whose id begins with a prefix.

        Raises:
          UserError: No edit has such an id, or more than one.
        """
        if prefix in self._edits:
            return self._edits[prefix]
        found = [key for key in self._edits if key.startswith(prefix)] if prefix else []
        if not found:
            raise UserError(
                f"no edit of this memory has an id that begins with {prefix!r}; `list` shows all"
            )
        if len(found) > 1:
            raise UserError(
                f"{len(found)} edits have ids that begin with {prefix!r}"
                f" ({', '.join(found[:5])}{', …' * (len(found) > 5)}); give more digits"
            )
        return self._edits[found[0]]

    def same_prompt(self, prompt: str) -> list[Edit]:
        """Edits with the same prompt, as `same_prompt.normal` compares it, whatever their tags."""
        if self._prompts is None:
            self._prompts = {}
            for edit in self._edits.values():
                self._prompts.setdefault(normal(edit.prompt), {})[edit.id] = None
        return [self._edits[key] for key in self._prompts.get(normal(prompt), ())]

    def _begin(self, edits: dict[str, Edit], seq: int) -> None:
        """Starts from the edits after an operation."""
        self._edits, self._seq, self._prompts = edits, seq, None
        self._expiring = {key: edit for key, edit in edits.items() if edit.expires}

    def _follow(self, operation: Operation) -> None:
        """Applies one more operation."""
        self._edits, self._seq = apply(self._edits, operation.change), operation.seq
        for _, edit in operation.change.removed:
            self._expiring.pop(edit.id, None)
            if self._prompts is not None:
                self._prompts[normal(edit.prompt)].pop(edit.id)
        for _, edit in operation.change.added:
            if edit.expires:
                self._expiring[edit.id] = edit
            if self._prompts is not None:
                self._prompts.setdefault(normal(edit.prompt), {})[edit.id] = None
