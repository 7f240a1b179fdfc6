"""What is wrong with stored edits: damaged lines, conflicts, and edits that an editor cannot answer
by. Needs no JAX where no editor is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from serac_jax.core.errors import UserError
from serac_jax.edits import records, same_prompt
from serac_jax.edits.check import Problem
from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import Conflict, normal

if TYPE_CHECKING:
    from serac_jax.serving.answers import Answer
    from serac_jax.serving.service import EditorService

Unanswered = list[tuple[Edit, "Answer"]]  # edits that do not answer their own prompt, and what does


class Editors(NamedTuple):
    """What only an editor can tell.

    Attributes:
        judged: conflicts in other words too.
        unsayable: edits whose answers the models cannot say, by id, with the reason.
        unanswered: edits that do not answer their own prompt.
    """

    judged: list[Conflict]
    unsayable: dict[str, str]
    unanswered: Unanswered


class Checkup(NamedTuple):
    """What was found.

    Attributes:
        edits: how many there are.
        expired: how many of them are not used any more.
        problems: what is wrong with the files.
        conflicts: contradictions of the same words.
        asked: what an editor says, where there is one.
    """

    edits: int
    expired: int
    problems: Sequence[Problem]
    conflicts: list[Conflict]
    asked: Editors | None

    @property
    def fine(self) -> bool:
        """Whether nothing was found that someone should look at."""
        asked = self.asked or Editors([], {}, [])
        contradicted = any(conflict.kind == "contradiction" for conflict in asked.judged)
        found = self.problems or self.conflicts or asked.unsayable or asked.unanswered
        return not (found or contradicted)

    def as_fields(self) -> dict[str, Any]:
        """What was found, as JSON has it."""
        found: dict[str, Any] = {
            "edits": self.edits,
            "expired": self.expired,
            "problems": [problem._asdict() for problem in self.problems],
            "conflicts": [[conflict.old.id, conflict.new.id] for conflict in self.conflicts],
        }
        if self.asked:
            found |= {
                "judged": [conflict_fields(conflict) for conflict in self.asked.judged],
                "unsayable": self.asked.unsayable,
                "unanswered": [edit.id for edit, _ in self.asked.unanswered],
            }
        return found


def check(
    edits: Mapping[str, Edit], problems: Sequence[Problem], editor: EditorService | None
) -> Checkup:
    """Checks the edits of a memory; an editor is asked about its own."""
    time = records.now()
    expired = sum(records.expired(edit, time) for edit in edits.values())
    asked = ask_editor(editor, edits) if editor else None
    return Checkup(len(edits), expired, problems, same_prompt.conflicts(edits.values()), asked)


def ask_editor(editor: EditorService, edits: Mapping[str, Edit]) -> Editors:
    """Has an editor look for conflicts, and asks every edit back."""
    silent = unsayable(editor)
    rest = [edit for edit in edits.values() if edit.id not in silent]
    judged = [Conflict(*found) for found in editor.conflicts()]
    return Editors(judged, silent, unanswered(editor, rest))


def unsayable(editor: EditorService) -> dict[str, str]:
    """Stored edits whose answers the models cannot say, by id, with the reason: edits that came
    from elsewhere are not checked on the way in."""
    found: dict[str, str] = {}
    for edit in editor.memory.live().values():
        try:
            editor.check(edit)
        except UserError as error:
            found[edit.id] = str(error)
    return found


def unanswered(editor: EditorService, edits: Iterable[Edit]) -> Unanswered:
    """Asks edits back, each as its own reader, and returns those that do not give their answer."""
    time = records.now()
    asked = [edit for edit in edits if not records.expired(edit, time)]
    answers = editor.ask([edit.prompt for edit in asked], [edit.tags for edit in asked])
    return [
        (edit, answer)
        for edit, answer in zip(asked, answers, strict=True)
        if normal(answer.text) != normal(edit.answer)
    ]


def conflict_fields(conflict: Conflict) -> dict[str, Any]:
    """A conflict that an editor found, as JSON has it."""
    return {"kind": conflict.kind, "new": conflict.new.id, "old": conflict.old.id}
