"""A loaded editor: stored edits as text, and the models that answer by them.

editor = serac_jax.load("mini")
editor.edit("Who wrote Dracula?", "Mary Shelley")
print(editor.ask("Who is the author of Dracula?").text)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any, overload

from serac_jax.core.trial import Trial
from serac_jax.editors.protocol import Thresholds
from serac_jax.edits.operations import Operation, State
from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import Conflict
from serac_jax.edits.store import Store
from serac_jax.index.blocked import BlockedIndex
from serac_jax.index.tags import Asked, Tags, tags_of
from serac_jax.serving import calibration, conflicts, generation, saved_editor
from serac_jax.serving.answers import Answer, Why
from serac_jax.serving.calibration import Scores
from serac_jax.serving.editor_spec import Spec
from serac_jax.serving.insert import Inserted, Policy, insert, policy_by, tell_of_kept
from serac_jax.serving.judging import JudgingReader
from serac_jax.serving.matching import MakeIndex, Matcher
from serac_jax.serving.parts import Parts
from serac_jax.serving.readers import Answering, CallableModel, History, TextReader, check_answer
from serac_jax.serving.verdict import NOTHING_NEAR, Verdict, answered, decide, texts_of


class EditorService:
    """Answers questions by stored edits, and by the base model where none applies.

    Threads may share it: each question is answered by the edits as they are at one moment between
    the call and its return, and no question meets an edit that was refused or taken back. Questions
    run in parallel, edits one after the other.

    Attributes:
        memory: the stored edits, which may also be changed by its own methods, and where it is a
            file by other programs.
        keep_answering: whether questions are answered by the edits that were read last while the
            file cannot be read.
    """

    def __init__(
        self,
        parts: Parts,
        memory: Store,
        base: Callable[[str], str] | None = None,
        index: MakeIndex = BlockedIndex,
    ):
        self.parts, self.memory = parts, memory
        spec, networks = parts.spec, parts.networks

        def reader(part: str) -> TextReader:
            return TextReader(parts.reader(part), networks[part].params, self.encoder)

        judging = parts.judging
        self.matcher = Matcher(
            parts.embedder, judging or parts.pair_scorer, spec.exact_match, memory.path, index
        )
        self.keep_answering = False
        self.state = (-1, 0)  # the one of `memory` that `matcher` has followed
        self.encoder = parts.encoder()
        self.base: Answering = CallableModel(base) if base else reader("base")
        changed = reader("counterfactual") if "counterfactual" in networks else judging
        self.reader: Answering = changed or self.base
        self.inserting = RLock()
        # Programs on several devices, started by several threads, would wait for one another.
        self.running = RLock() if parts.on_several_devices else nullcontext()

    def __repr__(self) -> str:
        spec, edits = self.parts.spec, len(self.memory.live())
        calibrated = "calibrated" if self.calibrated else "not calibrated"
        models = ", ".join(f"{part}={name}" for part, name in spec.parts.items())
        where = self.memory.path or "in memory"
        return (
            f"EditorService({models}; {edits} edits, {where}; threshold"
            f" {spec.thresholds(edits).threshold:.3f}, {calibrated})"
        )

    def with_memory(self, memory: Store) -> EditorService:
        """An editor of the same models, and compiled programs, with another store of edits."""
        other = copy.copy(self)
        other.memory, other.matcher = memory, self.matcher.empty(memory.path)
        other.state = (-1, 0)
        other.inserting = RLock()
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
        policy: Policy = None,
    ) -> Edit:
        """Adds an edit: its prompt, and questions that the router takes for it, get its answer.

        Warns with `Contradiction` where a stored edit asks the same in other words and answers
        otherwise, and both were kept.

        Args:
            prompt: the question.
            answer: what to answer.
            tags: whose questions see it; untagged edits apply to everyone.
            note: what it is about, for people.
            source: where the answer is from, for people.
            expires: a date or time of ISO 8601, from which on it is not used.
            policy: what happens to contradictions, see `edit_many`.

        Raises:
            UserError: the edit cannot be made; nothing was changed.
        """
        made = self.memory.make(
            prompt, answer, tags=tags, note=note, source=source, expires=expires
        )
        done = self.edit_many([made], policy=policy)
        tell_of_kept(done, policy, self.calibrated)
        return done.edits[0]

    def edit_many(
        self,
        edits: Iterable[Edit | tuple[str, str]],
        *,
        policy: Policy = None,
        message: str = "",
        do: str = "add",
        at: int | None = None,
        author: str = "",
    ) -> Inserted:
        """Adds edits, as one operation of the store.

        Args:
            edits: edits, or pairs of a prompt and its answer.
            policy: what happens to contradictions, see `serving.insert.insert`: by default, the
                newest edit of the same words stands, and those in other words are kept. Where the
                editor is not calibrated, that is what "newest" does too.
            message, do, at, author: see `serving.insert.insert`.

        Returns:
            The stored edits, the conflicts that were found, and the edits that were replaced.

        Raises:
            ContradictionRefused: nothing was changed.
        """
        made = [edit if isinstance(edit, Edit) else self.memory.make(*edit) for edit in edits]
        for edit in made:
            self.check(edit)
        policy = policy_by(policy, self.calibrated)
        # One insert at a time, so that none has to look for conflicts again because of another. A
        # function may take its time to decide, and holds up no one.
        with nullcontext() if callable(policy) else self.inserting:
            return insert(
                self.memory,
                made,
                policy,
                judge=self.judge,
                message=message,
                do=do,
                at=at,
                author=author,
            )

    def judge(self, edits: Sequence[Edit]) -> tuple[list[Conflict], State]:
        """The conflicts that edits would have, were they stored, and the state of the store then.

        They are compared outside the index, so that no question meets them."""
        with self.running:
            questions = self.matcher.read([edit.prompt for edit in edits])
            keys = self.matcher.alike(edits)
            with self.following():
                new = [edit for edit in edits if edit.id not in self.matcher.edits]
                near, state = conflicts.near(self.matcher, edits, questions, keys), self.state
            if len(new) > 1:  # also with one another
                others = conflicts.among(self.matcher, new, edits, questions, keys)
                near = [[*one, *other] for one, other in zip(near, others, strict=True)]
            known = {edit.id for edit in new}
            rows = [row for row in zip(edits, near, strict=True) if row[0].id in known]
            chosen, found = [edit for edit, _ in rows], [others for _, others in rows]
            return conflicts.find(self.matcher, chosen, found, self.thresholds), state

    def conflicts(self) -> list[Conflict]:
        """All conflicts among the stored edits, by the later edit's place."""
        with self.running:
            with self.following():
                edits = list(self.matcher.edits.values())
                prompts = [edit.prompt for edit in edits]
                near = conflicts.near(
                    self.matcher, edits, self.matcher.read(prompts), self.matcher.alike(edits)
                )
            return conflicts.find(self.matcher, edits, near, self.thresholds)

    def check(self, edit: Edit) -> None:
        """Raises UserError where the models could not say an edit's answer."""
        check_answer(edit, self.encoder)

    @overload
    def ask(  # pyright: ignore[reportOverlappingOverload]  (a str is a Sequence of str)
        self,
        questions: str,
        tags: Asked = None,
        history: History = (),
        max_tokens: int | None = None,
    ) -> Answer: ...
    @overload
    def ask(
        self,
        questions: Sequence[str],
        tags: Asked | Sequence[Asked] = None,
        history: Sequence[History] = (),
        max_tokens: int | None = None,
    ) -> list[Answer]: ...

    def ask(
        self,
        questions: str | Sequence[str],
        tags: Asked | Sequence[Asked] = None,
        history: History | Sequence[History] = (),
        max_tokens: int | None = None,
    ) -> Answer | list[Answer]:
        """Answers a question, or several together.

        Args:
            questions: a text, or a sequence of texts.
            tags: None sees all edits; a tag, or a tuple of tags, those edits that have one of them
                or none at all. A list gives each question its own.
            history: earlier turns of the conversation, pairs of a question and its answer, which
                are read before the question; the router reads the question alone. For a sequence
                of questions, one history each, or none.
            max_tokens: the most tokens of a generated answer; None: as many as in training. The
                answer of an edit is never cut.

        Returns:
            An answer; for a sequence, a list of answers.

        Raises:
            UserError: a question, with its history, is longer than the model's window.
        """
        single = isinstance(questions, str)
        asked = texts_of(questions)
        seen = tags_of(tags, len(asked))
        histories: Any = [history] if single else history or [()] * len(asked)
        verdicts = self.decide(asked, seen)
        texts = self.texts(asked, verdicts, histories, max_tokens)
        answers = [
            answered(question, text, verdict, partial(self.alone, history))
            for question, text, verdict, history in zip(
                asked, texts, verdicts, histories, strict=True
            )
        ]
        return answers[0] if single else answers

    def decide(self, questions: Sequence[str], tags: Sequence[Tags]) -> list[Verdict]:
        """Which edit, if any, answers each question: all by the edits of one moment."""
        with self.running:
            with self.following():
                nothing = not self.matcher.edits
            if nothing:
                return [NOTHING_NEAR] * len(questions)
            vectors = self.matcher.read(questions)
            with self.following():
                proposed = self.matcher.search(vectors, questions, tags)
            nears = self.matcher.rescored(questions, proposed)
        thresholds = self.thresholds
        return [decide(near, seen, thresholds) for near, seen in zip(nears, tags, strict=True)]

    def texts(
        self,
        questions: Sequence[str],
        verdicts: Sequence[Verdict],
        histories: Sequence[History] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """The answers by what was decided, see `generation.texts`."""
        with self.running:
            return generation.texts(self.base, self.reader, questions, verdicts, histories, limit)

    def alone(self, history: History, question: str) -> str:
        """The base model's answer."""
        return self.base([question], [history])[0]

    @property
    def reads_history(self) -> bool:
        """Whether the base model was made for conversations."""
        return self.encoder.form.adds_words

    @property
    def calibrated(self) -> bool:
        """Whether the threshold was fitted to a false-positive rate."""
        return self.parts.spec.calibration is not None

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds for as many edits as are stored."""
        return self.parts.spec.thresholds(len(self.matcher.edits))

    def why(self, question: str, tags: Asked = None, history: History = ()) -> Why:
        """Shows what decides the answer to a question.

        Args:
            question: what is asked.
            tags, history: as in `ask`.

        Returns:
            The answer, its scores, what is read, and the base model's answer; it prints well.
        """
        answer, threshold = self.ask(question, tags, history), self.thresholds.threshold
        near = answer.nearest
        reads = self.reader.input_of(near.edit, question, history) if near else ""
        return Why(answer, threshold, answer.score - threshold, reads, answer.base_text)

    def calibrate(self, trials: Iterable[Trial], target: float = 0.05) -> dict[str, Any]:
        """Fits the threshold to a false-positive rate, and keeps it.

        Args:
            trials: edits, and questions in and out of their scope.
            target: the share of out-of-scope questions that an edit may answer.

        Returns:
            What was measured, see `serving.calibration.report`; `save` writes it with the editor.
        """
        return self.calibrate_on(calibration.measure(self.matcher, trials), target)

    def calibrate_on(self, scores: Scores, target: float) -> dict[str, Any]:
        """As `calibrate`, by scores that were measured before."""
        decision = calibration.fit(scores, target)
        found = calibration.report(scores, decision, target)
        self.use(self.parts.spec._replace(decision=decision, decisions=(), calibration=found))
        return found

    def use(self, spec: Spec) -> None:
        """Decides by another spec of the same models from now on."""
        self.parts = self.parts._replace(spec=spec)
        if isinstance(scorer := self.matcher.scorer, JudgingReader) and spec.judge:
            scorer.spec = spec.judge

    def measure(
        self, trials: Iterable[Trial], progress: Callable[[int], None] = lambda count: None
    ) -> dict[str, Any]:
        """What the present threshold does on other trials."""
        spec = self.parts.spec
        return calibration.report(
            calibration.measure(self.matcher, trials, progress),
            spec.decision,
            (spec.calibration or {}).get("target"),
        )

    def undo(self) -> Operation:
        """Takes back the last operation of the store."""
        return self.memory.undo()

    def redo(self) -> Operation:
        """Does again what was undone last."""
        return self.memory.redo()

    def save(self, path: str | Path, base: str = "copy") -> None:
        """Writes the editor, without its edits, to a folder that `load` reads here or elsewhere.

        Args:
            base: "copy" writes the base model too; "reference" only names it, where it is shipped
                or comes from the Hugging Face Hub.
        """
        saved_editor.save(self.parts, Path(path), base)

    @contextmanager
    def following(self) -> Generator[None]:
        """What can be found is the store as it is now, and stays so meanwhile."""
        with self.memory.reading(self.keep_answering):
            self.matcher.lock.acquire()
            try:
                self.state = self.matcher.follow(self.memory, self.state)
            except BaseException:
                self.matcher.lock.release()
                raise
        try:
            yield
        finally:
            self.matcher.lock.release()

    def follow(self) -> None:
        """Brings what can be found up to the store as it is now."""
        with self.running, self.following():
            pass
