"""editor.json: what a saved editor is, besides its models.

    format, version     "serac_jax editor", 1
    parts               {"base", "scope", "counterfactual", "rerank"}: "./NAME" for a folder beside
                        the file, else the name of a model; null where there is none
    answers             [] where answers are words, else the classes that the base model chooses
                        from
    pool, distance      how the scope classifier's vectors are pooled ("cls", "pooler", "mean", or
                        "sentence": as its folder declares), and how they are compared
    question_widths     tokens to which questions are padded; longer ones are cut at the last
    answer_widths       the last is how many tokens an answer has at most
    decision            {"threshold", "unsure_from"}: an edit answers where its score is above the
                        threshold; between the two the editor reports that it is unsure
    calibration         what `calibrate` measured, or null
    exact_match         (optional, true) an edit answers its own words, whatever the classifier says
    adapters            (optional) {"scope", "reader"}: folders of low-rank adapters in the format
                        of `peft`, of the scope classifier and of the base model, which then reads
                        edits and judges (`serving.judging`)
    judge               (optional) {"template", "proposals", "border", "weights"}, see
                        `JudgeSpec`
    decisions           (optional) [{"edits", "threshold", "unsure_from"}, …]: thresholds for so
                        many stored edits, in place of "decision"
    digests             (optional) {part: digest} of the weights and vocabularies that the editor
                        was made with (`models.weights_digest`); others are told
    dtype               (optional) "bfloat16": the base model is held in it, and computed in it with
                        the networks that answer beside it; by default "float32"
    template            (optional) how edits and questions are put together for the base model, a
                        name in `text.templates.TEMPLATES`; by default the one of its network

"scope" is an embedding classifier, "rerank" a cross-attention classifier; one of them may be
missing. Without a counterfactual model the base model reads the edits. Without a base model, it is
passed to `load`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.core.fields import COUNT, DTYPE, FINITE, SHARE, Rule, one_of
from serac_jax.editors.protocol import Thresholds
from serac_jax.index.distance import SQUARED, Distance
from serac_jax.text.templates import TEMPLATES

FORMAT, VERSION, FILE = "serac_jax editor", 1, "editor.json"
EARLIER = {"question_widths": "text_widths", "answer_widths": "label_widths"}  # names of 0.2
POOLS = ("cls", "pooler", "mean", "sentence")
OPTIONAL: dict[str, Any] = {
    "template": "",
    "adapters": {},
    "judge": None,
    "decisions": [],
    "digests": {},
    "dtype": "float32",
}
PARTS = ("base", "scope", "counterfactual", "rerank")


class JudgeSpec(NamedTuple):
    """How a reader judges.

    Attributes:
        template: how it reads an edit and a question, a name in `text.templates.TEMPLATES`.
        proposals: how many of the edits nearest to a question it judges.
        border: edits whose cosine with a question is lower are not judged.
        weights: of `scope_score.VIEWS` and the intercept; empty: the score is the probability that
            the verdict is not "unrelated".
    """

    template: str = "turns"
    proposals: int = 4
    border: float = 0.3
    weights: tuple[float, ...] = ()


class Decision(NamedTuple):
    """Thresholds for at most so many stored edits: the more are stored, the likelier one of them is
    near a question by chance."""

    edits: int
    threshold: float
    unsure_from: float


class Spec(NamedTuple):
    """editor.json."""

    parts: dict[str, str]
    answers: tuple[str, ...] = ()
    pool: str = "cls"
    distance: Distance = SQUARED
    question_widths: tuple[int, ...] = (32,)
    answer_widths: tuple[int, ...] = (16,)
    decision: Thresholds = Thresholds()
    calibration: dict[str, Any] | None = None
    exact_match: bool = True
    template: str = ""
    adapters: Mapping[str, str] = MappingProxyType({})
    judge: JudgeSpec | None = None
    decisions: tuple[Decision, ...] = ()
    digests: Mapping[str, str] = MappingProxyType({})
    dtype: str = "float32"

    def thresholds(self, edits: int) -> Thresholds:
        """The thresholds for so many stored edits: of the smallest number that is no less, or of
        the largest."""
        for found in self.decisions:
            if edits <= found.edits or found is self.decisions[-1]:
                return Thresholds(found.threshold, found.unsure_from)
        return self.decision


def write(spec: Spec, folder: Path) -> None:
    fields = spec._asdict() | {
        "distance": spec.distance._asdict(),
        "decision": spec.decision._asdict(),
        "parts": dict.fromkeys(PARTS) | spec.parts,
    }
    fields["adapters"] = dict(spec.adapters)
    fields["judge"] = spec.judge and spec.judge._asdict()
    fields["decisions"] = [decision._asdict() for decision in spec.decisions]
    fields["digests"] = dict(spec.digests)
    for name, empty in OPTIONAL.items():
        if fields[name] == empty:
            del fields[name]
    written = {"format": FORMAT, "version": VERSION} | fields
    files.write_json(folder / FILE, written)


def read(folder: Path) -> Spec:
    """The editor.json of a folder. Raises UserError that names the file and the field."""
    file = folder / FILE
    try:
        read: Any = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{file} cannot be read ({error!s:.200}); name a folder that `save` has written"
        ) from error
    fields = cast(dict[str, Any], read if isinstance(read, dict) else {})
    if fields.pop("format", None) != FORMAT:
        raise UserError(f"{file} is not a saved editor: its field 'format' should be {FORMAT!r}")
    if (version := fields.pop("version", None)) != VERSION:
        raise UserError(
            f"{file} is of version {version!r}, but this program reads version {VERSION}; update"
            " one of the two"
        )
    for new, old in EARLIER.items():
        if old in fields:
            fields[new] = fields.pop(old)
    fields.setdefault("exact_match", True)  # a field that earlier versions did not write
    for name, empty in OPTIONAL.items():
        fields.setdefault(name, empty)
    if strange := sorted(set(fields) ^ set(Spec._fields)):
        raise UserError(
            f"{file}: the field {strange[0]!r:.60} is"
            f" {'unknown' if strange[0] in fields else 'missing'}; there are"
            f" {', '.join(Spec._fields)}"
        )
    parts = record(file, "parts", fields["parts"], dict.fromkeys(PARTS, (str, type(None))))
    distance = record(
        file,
        "distance",
        fields["distance"],
        {name: type(value) for name, value in SQUARED._asdict().items()},
    )
    decision = record(
        file, "decision", fields["decision"], dict.fromkeys(Thresholds._fields, (int, float))
    )
    if not parts["scope"] and not parts["rerank"]:
        raise UserError(
            f"{file}: field 'parts' names neither 'scope' nor 'rerank'; one of them decides which"
            " edit a question falls under"
        )
    if fields["pool"] not in POOLS:
        raise UserError(
            f"{file}: field 'pool' should be one of {', '.join(POOLS)}, not"
            f" {json.dumps(fields['pool'])[:60]}"
        )
    if not isinstance(fields["calibration"], dict | None):
        raise UserError(f"{file}: field 'calibration' should be an object or null")
    if not isinstance(fields["exact_match"], bool):
        raise UserError(f"{file}: field 'exact_match' should be true or false")
    if fields["template"] not in ("", *TEMPLATES):
        raise UserError(
            f"{file}: field 'template' should be one of {', '.join(TEMPLATES)}, not"
            f" {json.dumps(fields['template'])[:60]}"
        )
    spec = Spec(
        parts={name: part for name, part in parts.items() if part},
        answers=several(file, "answers", fields["answers"], str),
        pool=fields["pool"],
        distance=Distance(**distance),
        question_widths=several(file, "question_widths", fields["question_widths"], int, 1),
        answer_widths=several(file, "answer_widths", fields["answer_widths"], int, 1),
        decision=Thresholds(**decision),
        calibration=fields["calibration"],
        exact_match=fields["exact_match"],
        template=fields["template"],
        adapters=adapters_of(file, fields["adapters"]),
        judge=judge_of(file, fields["judge"]),
        decisions=tuple(
            Decision(**record(file, "decisions", one, NUMBERS))
            for one in several(file, "decisions", fields["decisions"], dict)
        ),
        digests=texts(file, "digests", fields["digests"]),
        dtype=fields["dtype"],
    )
    check(file, spec)
    return spec


COSINE = Rule("a number from -1 to 1", lambda value: -1 <= value <= 1)
ADAPTED = {"scope": "scope", "reader": "base"}  # the part that an adapter belongs to
WIDTH = Rule("a number of tokens from 1 to 65536", lambda value: 1 <= value <= 65536)


def check(file: Path, spec: Spec) -> None:
    """Raises UserError for the first number of an editor.json that is out of range."""
    judge = spec.judge or JudgeSpec()
    for name, values, rule in (
        ("question_widths", spec.question_widths, WIDTH),
        ("answer_widths", spec.answer_widths, WIDTH),
        ("distance.heads", [spec.distance.heads], COUNT),
        ("decision", spec.decision, SHARE),
        ("decisions.edits", [one.edits for one in spec.decisions], COUNT),
        ("decisions", [number for one in spec.decisions for number in one[1:]], SHARE),
        ("judge.proposals", [judge.proposals], COUNT),
        ("judge.border", [judge.border], COSINE),
        ("judge.weights", judge.weights, FINITE),
        ("judge.template", [judge.template], one_of(*TEMPLATES)),
        ("dtype", [spec.dtype], DTYPE),
    ):
        for value in values:
            if not rule.holds(value):
                raise UserError(f"{file}: field {name!r} is {value!r:.60}; expected {rule.says}")
    for adapter in spec.adapters:
        if ADAPTED.get(adapter) not in spec.parts:
            raise UserError(f"{file}: field 'adapters' names {adapter!r}, which adapts no part")


NUMBERS: dict[str, Any] = dict.fromkeys(Decision._fields, (int, float))


def adapters_of(file: Path, value: Any) -> dict[str, Any]:
    """The field "adapters"."""
    return texts(file, "adapters", value) if value else {}


def judge_of(file: Path, value: Any) -> JudgeSpec | None:
    """The field "judge"."""
    if value is None:
        return None
    kinds = {"template": str, "proposals": int, "border": (int, float), "weights": list}
    found = record(file, "judge", value, kinds)
    weights = several(file, "judge.weights", found["weights"], float)
    return JudgeSpec(found["template"], found["proposals"], found["border"], weights)


def record(file: Path, name: str, value: Any, kinds: dict[str, Any]) -> dict[str, Any]:
    """An object with exactly these entries, each of its kind."""
    found = cast(dict[str, Any], value if isinstance(value, dict) else {})
    if found.keys() != kinds.keys() or not all(
        isinstance(found[key], kind) for key, kind in kinds.items()
    ):
        raise UserError(
            f"{file}: field {name!r} should be an object with {', '.join(kinds)}, each of the right"
            f" kind, not {json.dumps(value)[:120]}"
        )
    return found


def texts(file: Path, name: str, value: Any) -> dict[str, str]:
    """An object whose values are texts."""
    found = cast(dict[str, Any], value if isinstance(value, dict) else {"": None})
    return record(file, name, found, dict.fromkeys(found, str))


def several(file: Path, name: str, value: Any, kind: type, least: int = 0) -> tuple[Any, ...]:
    """A list of at least so many values of a kind."""
    found = cast(list[Any], value) if isinstance(value, list) else None
    if found is None or len(found) < least or not all(isinstance(item, kind) for item in found):
        raise UserError(
            f"{file}: field {name!r} should be a list of {kind.__name__}, not"
            f" {json.dumps(value)[:120]}"
        )
    return tuple(found)
