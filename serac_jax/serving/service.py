"""A loaded editor: a memory of edits as text, and the models that answer by it.

editor = serac_jax.load("mini")
editor.edit("Who wrote Dracula?", "Mary Shelley")
print(editor.ask("Who is the author of Dracula?").text)
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

from serac_jax.core.errors import UserError
from serac_jax.edits.operations import Operation
from serac_jax.edits.records import Edit
from serac_jax.edits.store import Store
from serac_jax.evaluation.trials import Trial
from serac_jax.index.blocked import BlockedIndex
from serac_jax.index.tags import Tags
from serac_jax.serving import calibration, conflicts, saved_editor
from serac_jax.serving.answers import Answer, Verdict, Why, decide
from serac_jax.serving.calibration import Scores
from serac_jax.serving.conflicts import Conflict, ContradictionRefused, Policy, chosen
from serac_jax.serving.matching import Embedder, MakeIndex, Matcher, PairReader
from serac_jax.serving.readers import CallableModel, Reader, spelled
from serac_jax.serving.saved_editor import Parts
from serac_jax.text.encoder import Encoder

Asked = Tags | str  # a query's tags; one may be given without a tuple


class Replaced(UserWarning):
    """A new edit took the place of one with another prompt, which it contradicts."""


class Inserted(NamedTuple):
    """edits: as the memory holds them. conflicts: those that were found; of contradictions the
    older edit is gone unless the policy was to keep it."""

    edits: tuple[Edit, ...]
    conflicts: list[Conflict]


class EditorService:
    """Questions in, answers out. `memory` may be changed by this object, by its own methods, or,
    where it is a file, by other programs."""

    def __init__(
        self,
        parts: Parts,
        memory: Store,
        base: Callable[[str], str] | None = None,
        index: MakeIndex = BlockedIndex,
    ):
        self.parts, self.memory = parts, memory
        spec, networks = parts.spec, parts.networks

        def encoder(scope: str) -> Encoder:
            tokenizer = networks[scope].model.tokenizer if scope else None
            return Encoder(
                parts.tokenizer,
                tokenizer,
                spec.text_widths,
                spec.label_widths,
                classes=spec.answers,
            )

        embedder = (
            Embedder(*networks["scope"], spec.distance, encoder("scope"))
            if "scope" in networks
            else None
        )
        pairs = PairReader(*networks["rerank"], encoder("rerank")) if "rerank" in networks else None
        self.matcher, self.seq = Matcher(embedder, pairs, memory.path, index), -1
        self.encoder = encoder("")
        self.base = CallableModel(base) if base else Reader(*networks["base"], self.encoder)
        self.reader = (
            Reader(*networks["counterfactual"], self.encoder)
            if "counterfactual" in networks
            else self.base
        )

    def with_memory(self, memory: Store) -> EditorService:
        """An editor of the same models, and compiled programs, with another memory."""
        other = copy.copy(self)
        other.memory, other.matcher, other.seq = memory, self.matcher.empty(memory.path), -1
        return other

    def edit(
        self,
        prompt: str,
        answer: str,
        *,
        tags: Iterable[str] = (),
        note: str = "",
        source: str = "",
        expires: str = "",
        policy: Policy = "newest",
    ) -> Edit:
        """One more edit; from now on it answers its prompt, and everything that asks the same, as
        far as the scope classifier sees that it does.

        tags: who sees it; without any, everybody. expires: a date or time of ISO 8601. policy: of
            contradictions, see `edit_many`.
        Warns with Replaced where an edit of another prompt had to go. Raises UserError, and changes
        nothing, where the edit cannot be made."""
        made = self.memory.make(
            prompt, answer, tags=tags, note=note, source=source, expires=expires
        )
        edits, found = self.edit_many([made], policy=policy)
        for conflict in found:
            if (
                conflict.kind == "contradiction"
                and conflict.old.prompt != prompt
                and conflict.old.id not in self.memory.edits
            ):
                warnings.warn(
                    f"{conflict}: the older one was replaced; undo() brings it back",
                    Replaced,
                    stacklevel=2,
                )
        return edits[0]

    def edit_many(
        self,
        edits: Iterable[Edit | tuple[str, str]],
        *,
        policy: Policy = "newest",
        message: str = "",
    ) -> Inserted:
        """More edits, as one operation of the memory; pairs are (prompt, answer).

        policy: what becomes of an edit that a new one contradicts, by the scope classifier:
            "newest" removes the old one, "refuse" raises
        ContradictionRefused and inserts nothing, "keep" looks for no conflicts and keeps all; or a
        function that is asked, a conflict at a time. No one waits while conflicts are looked for.
        Where another program wrote meanwhile, they are looked for again, and only new ones are
        asked about."""
        made = [edit if isinstance(edit, Edit) else self.memory.make(*edit) for edit in edits]
        for edit in made:
            self.check(edit)
        found: list[Conflict] = []
        decided: dict[tuple[str, str], str] = {}
        while True:
            if policy != "keep":
                found = self.conflicts_of(list({edit.id: edit for edit in made}.values()))
            gone = self.contradicted(found, policy, decided)
            with self.memory.turn():
                if policy == "keep" or self.seq == self.memory.seq:
                    kept = [edit for edit in made if edit.id not in gone]
                    stored = self.memory.add(
                        kept,
                        replacing=[old for old in gone if old in self.memory.edits],
                        message=message,
                    )
                    return Inserted(stored, found)

    def contradicted(
        self, found: Iterable[Conflict], policy: Policy, decided: dict[tuple[str, str], str]
    ) -> list[str]:
        """Ids of edits that have to go, by the policy, or as it was decided before. Raises
        ContradictionRefused."""
        gone = []
        for conflict in found:
            if conflict.kind == "contradiction":
                pair = conflict.new.id, conflict.old.id
                decided[pair] = decided.get(pair) or chosen(policy, conflict)
                if decided[pair] == "refuse":
                    raise ContradictionRefused(conflict)
                gone += [conflict.old.id] if decided[pair] == "newest" else []
        return gone

    def conflicts_of(self, edits: Sequence[Edit]) -> list[Conflict]:
        """The conflicts that edits would have in the memory, which does not hold them yet."""
        self.follow()
        new = [edit for edit in edits if edit.id not in self.matcher.edits]
        self.matcher.add(new)
        try:
            return conflicts.find(self.matcher, new, self.parts.spec.decision.threshold)
        finally:
            self.matcher.remove([edit.id for edit in new])

    def check(self, edit: Edit) -> None:
        """Raises UserError where the models could not say an edit's answer."""
        classes, answer = (
            self.encoder.classes,
            f"edit {edit.id[:8]}: the answer {edit.answer[:60]!r}",
        )
        if classes and edit.answer not in classes:
            raise UserError(f"{answer} is not one that this editor gives: {', '.join(classes)}")
        if not classes and self.encoder.base.unk_token_id in spelled(edit, self.encoder):
            raise UserError(
                f"{answer} has letters that this editor's vocabulary lacks, so it cannot be said;"
                " write it without them"
            )

    def unsayable(self) -> dict[str, str]:
        """Edits of the memory whose answers the models could not say, by id, and why: those that
        came from elsewhere, which nobody has checked."""
        found = {}
        for edit in self.memory.live().values():
            try:
                self.check(edit)
            except UserError as error:
                found[edit.id] = str(error)
        return found

    def conflicts(self) -> list[Conflict]:
        """All conflicts among the edits of the memory, by the later edit's place."""
        self.follow()
        return conflicts.find(
            self.matcher, list(self.matcher.edits.values()), self.parts.spec.decision.threshold
        )

    @overload
    def ask(self, questions: str, tags: Asked = None) -> Answer: ...
    @overload
    def ask(
        self, questions: Sequence[str], tags: Asked | Sequence[Asked] = None
    ) -> list[Answer]: ...

    def ask(
        self, questions: str | Sequence[str], tags: Asked | Sequence[Asked] = None
    ) -> Answer | list[Answer]:
        """The answer to a question, or to each of several, which are answered together.

        tags: None sees all edits; a tag, or a tuple of tags, those edits that have one of them or
            none at all. A list gives every question its own.
        """
        single = isinstance(questions, str)
        asked = [questions] if single else list(questions)
        seen = tags_of(tags, len(asked))
        verdicts = self.decide(asked, seen)
        texts = self.texts(asked, verdicts)
        answers = [self.answer(*row) for row in zip(asked, texts, verdicts, strict=True)]
        return answers[0] if single else answers

    def decide(self, questions: Sequence[str], tags: Sequence[Tags]) -> list[Verdict]:
        """Which edit, if any, answers each question."""
        self.follow()
        nears = self.matcher.nearest(questions, tags)
        return [
            decide(near, seen, self.parts.spec.decision)
            for near, seen in zip(nears, tags, strict=True)
        ]

    def texts(self, questions: Sequence[str], verdicts: Sequence[Verdict]) -> list[str]:
        """The answers: those of the reader where an edit answers, and only for the rest those of
        the base model."""
        hits = [at for at, verdict in enumerate(verdicts) if verdict.hit]
        misses = [at for at, verdict in enumerate(verdicts) if not verdict.hit]
        edits = [verdict.first.edit for verdict in verdicts if verdict.hit and verdict.first]
        texts = dict(
            zip(hits, self.reader.after(edits, [questions[at] for at in hits]), strict=True)
        )
        texts |= dict(zip(misses, self.base([questions[at] for at in misses]), strict=True))
        return [texts[at] for at in range(len(questions))]

    def answer(self, question: str, text: str, verdict: Verdict) -> Answer:
        first = verdict.first
        return Answer(
            question=question,
            text=text,
            edit_id=first.edit.id if first and verdict.hit else None,
            score=first.score if first else 0.0,
            nearest=first,
            runner_up=verdict.runner_up,
            unsure=verdict.unsure,
            base=lambda question: self.base([question])[0],
        )

    def why(self, question: str, tags: Asked = None) -> Why:
        """How a question is answered: scores, the text that is read, and what the base model
        says."""
        answer, threshold = self.ask(question, tags), self.parts.spec.decision.threshold
        reads = self.reader.input_of(answer.nearest.edit, question) if answer.nearest else ""
        return Why(answer, threshold, answer.score - threshold, reads, answer.base_text)

    def calibrate(self, trials: Iterable[Trial], target: float = 0.05) -> dict[str, Any]:
        """Fits the threshold so that a share `target` of the questions out of scope is answered by
        an edit, and keeps it; what was measured.

        `save` writes both with the editor. The keys of the report are told at
        `live.calibrate.report`."""
        return self.calibrate_on(calibration.measure(self.matcher, trials), target)

    def calibrate_on(self, scores: Scores, target: float) -> dict[str, Any]:
        """The same, of scores that were measured before."""
        decision = calibration.fit(scores, target)
        found = calibration.report(scores, decision, target)
        self.parts = self.parts._replace(
            spec=self.parts.spec._replace(decision=decision, calibration=found)
        )
        return found

    def measure(self, trials: Iterable[Trial]) -> dict[str, Any]:
        """The same of the threshold as it is, on other trials."""
        spec = self.parts.spec
        return calibration.report(
            calibration.measure(self.matcher, trials),
            spec.decision,
            (spec.calibration or {}).get("target"),
        )

    def undo(self) -> Operation:
        """Takes back the last operation of the memory."""
        return self.memory.undo()

    def redo(self) -> Operation:
        """Does again what was undone last."""
        return self.memory.redo()

    def save(self, path: str | Path, base: str = "copy") -> None:
        """Writes the editor, without its memory, to a folder that `load` reads here or elsewhere.

        base="reference": the base model is only named, where it is shipped or comes from the
        Hugging Face Hub."""
        if base not in ("copy", "reference"):
            raise UserError(f"base={base!r} is not known; use 'copy' or 'reference'")
        saved_editor.save(self.parts, Path(path), base == "copy")

    def follow(self) -> None:
        """Brings what can be found up to the memory as it is now."""
        self.memory.refresh()
        if self.seq < 0:
            self.matcher.add(self.memory.live().values())
        elif self.seq != self.memory.seq:
            added, removed = self.memory.changes_since(self.seq)
            self.matcher.remove(removed)
            self.matcher.add(added)
        self.seq = self.memory.seq
        self.matcher.remove(self.memory.expired())


def tags_of(tags: Asked | Sequence[Asked], count: int) -> list[Tags]:
    """The tags of every question."""
    each: list[Any] = tags if isinstance(tags, list) else [tags] * count
    if len(each) != count:
        raise UserError(
            f"{len(each)} lists of tags for {count} questions; give one for each, or one for all"
        )
    return [(one,) if isinstance(one, str) else None if one is None else tuple(one) for one in each]
