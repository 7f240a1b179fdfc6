"""Asks an editor the questions of a plan, and writes a line of predictions.jsonl for each.

A line is an object with

    edits      how many edits were held, as it was asked for: "10", "all"
    kind       the kind of question
    question   the question
    wanted     the answer, or the list of answers, that counts as right; out of scope, `before`
    before     the base model's answer; null where nothing depends on it
    after      the answer while the edits are held; null where it is the base model's, and nothing
               depends on what that is
    edit       {"prompt", "answer"}: the edit that answered; null where the base model did, with
               its own weights or with edited ones
    score      how likely the question is in the scope of the nearest edit, from 0 to 1
    verdict    who answered: "edit" an edit, or "same" or "follows" where its reader judges
               questions; "weights" the base model with the weights that all edits have changed;
               "base" the base model, or "unsure" where an edit might have answered
    right      whether the answer is right
    fact       {"index", "prompt"}: the edit that the question tests

A question out of scope that no edit answers is right by construction, so that its answer is not
generated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.edits import records
from serac_jax.edits.records import Edit
from serac_jax.edits.store import Store
from serac_jax.evaluation.fact_plan import Group, Item, Plan, batches
from serac_jax.index.tags import Tags
from serac_jax.tasks.facts.fact_rows import Fact, text_or_texts
from serac_jax.text.squad import right

BATCH = 256  # questions that are asked, and written, together
Line = dict[str, Any]


class Near(Protocol):
    """An edit, and how likely a question is in its scope."""

    @property
    def edit(self) -> Edit: ...
    @property
    def score(self) -> float: ...
    @property
    def verdict(self) -> str: ...


class Verdict(Protocol):
    """What `serving.verdict.Verdict` says of a question; a hit without an edit is an answer of
    weights that edits have changed."""

    @property
    def first(self) -> Near | None: ...
    @property
    def hit(self) -> bool: ...
    @property
    def unsure(self) -> bool: ...


class Service(Protocol):
    """The parts of `serving.service.EditorService` that are used: the path of `ask`, in its two
    steps. `edited_run.EditedRun` has them for every editor."""

    @property
    def base(self) -> Any: ...
    def with_memory(self, memory: Store) -> Self: ...
    def check(self, edit: Edit) -> None: ...
    def decide(self, questions: Sequence[str], tags: Sequence[Tags]) -> Any: ...
    def texts(self, questions: Sequence[str], verdicts: Any) -> list[str]: ...


class Asker:
    """Asks a service; what it answered once by the same edit, or without one, is not asked again.

    Attributes:
      edits: An edit for each fact.
      before: The base model's answers by question.
      after: Answers by what they are from (`source`) and a question.
    """

    def __init__(self, service: Service, facts: Sequence[Fact], all_before: bool = False):
        self.empty, self.facts, self.all_before = service, facts, all_before
        self.edits = [edit_of(fact) for fact in facts]
        self.before: dict[str, str] = {}
        self.after: dict[tuple[str, str], str] = {}
        self.group: Group | None = None
        self.service, self.store = service, Store.open(None)

    def hold(self, group: Group) -> None:
        """Holds the edits of a group, and no others."""
        if group is self.group:
            return
        before = self.group.held if self.group else []
        if not before or group.held[: len(before)] != before:
            self.store, before = Store.open(None), []
            self.service = self.empty.with_memory(self.store)
        self.store.add([self.edits[place] for place in group.held[len(before) :]])
        self.group = group

    def ask(self, asked: Sequence[tuple[Group, Sequence[Item]]]) -> list[Line]:
        """The lines of questions, each asked while the edits of its group are held."""
        decided: list[tuple[Group, Item, Verdict]] = []
        for group, items in asked:
            self.hold(group)
            verdicts = self.service.decide(
                [item.ask.question for item in items], [None] * len(items)
            )
            decided += [(group, *row) for row in zip(items, verdicts, strict=True)]
        self.read(decided)
        return [self.line(*row) for row in decided]

    def read(self, asked: Sequence[tuple[Group, Item, Verdict]]) -> None:
        """Generates the answers that are needed and not known yet."""
        hits = {
            (source(group, verdict), item.ask.question): verdict
            for group, item, verdict in asked
            if verdict.hit
        }
        new = {key: verdict for key, verdict in hits.items() if key not in self.after}
        texts = self.service.texts([question for _, question in new], list(new.values()))
        self.after |= dict(zip(new, texts, strict=True))
        alone = {
            item.ask.question
            for _, item, verdict in asked
            if self.all_before or item.ask.inside != verdict.hit
        }
        questions = sorted(alone - self.before.keys())
        if questions:
            self.before |= dict(zip(questions, self.service.base(questions), strict=True))

    def line(self, group: Group, item: Item, verdict: Verdict) -> Line:
        """The line of a question, whose answers are known."""
        (place, ask), edit = item, verdict.first.edit if verdict.first and verdict.hit else None
        before = self.before.get(ask.question)
        after = self.after[source(group, verdict), ask.question] if verdict.hit else before
        return {
            "edits": group.edits,
            "kind": ask.kind,
            "question": ask.question,
            "wanted": text_or_texts(ask.answers) if ask.inside else before,
            "before": before,
            "after": after,
            "edit": {"prompt": edit.prompt, "answer": edit.answer} if edit else None,
            "score": round(float(verdict.first.score), 6) if verdict.first else 0.0,
            "verdict": said(verdict),
            "right": right(after or "", ask.answers) if ask.inside else after == before,
            "fact": {"index": place, "prompt": self.facts[place].prompt},
        }

    def remember(self, lines: Sequence[Line]) -> None:
        """Takes over the answers of lines that were written before."""
        for line in lines:
            if line["before"] is not None:
                self.before[line["question"]] = line["before"]
            if line["edit"]:
                self.after[line["edit"]["prompt"], line["question"]] = line["after"]


def source(group: Group, verdict: Verdict) -> str:
    """What an answer is from: the prompt of an edit, or, where edits change weights, the group."""
    if verdict.first:
        return verdict.first.edit.prompt
    return f"{group.edits}: {len(group.held)} from {group.held[0]}"


def said(verdict: Verdict) -> str:
    """Who answers a question, in a word."""
    if verdict.hit:
        return verdict.first.verdict or "edit" if verdict.first else "weights"
    return "unsure" if verdict.unsure else "base"


def edit_of(fact: Fact) -> Edit:
    """The edit of a fact."""
    return records.make(fact.prompt, fact.answer)


def run(asker: Asker, plan: Plan, file: Path, done: int, together: int = BATCH) -> Iterator[int]:
    """Asks what is left of a plan, so many questions together, and appends their lines.

    Yields:
      The number of questions that have been asked, after each batch.
    """
    with files.appending(file) as out:
        for asked in batches(plan, together, done):
            lines = asker.ask(asked)
            new = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            files.write_all(out, new.encode())
            done += len(lines)
            yield done


def written(file: Path, plan: Plan) -> list[Line]:
    """The lines that an evaluation of the same plan has written; a last one that is cut is removed.

    Raises:
      UserError: The file holds other questions.
    """
    if not file.exists():
        return []
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    try:
        lines = [json.loads(line) for line in whole.decode().split("\n") if line]
        found = [(line["edits"], line["kind"], line["question"]) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: not a file of predictions; choose another --out") from error
    planned = [
        (group.edits, item.ask.kind, item.ask.question)
        for group in plan.groups
        for item in group.items
    ]
    if found != planned[: len(found)]:
        raise UserError(
            f"{file} holds the answers of another evaluation; choose another --out, or remove it"
        )
    if len(whole) < len(content):
        files.write(file, whole)
    return lines
