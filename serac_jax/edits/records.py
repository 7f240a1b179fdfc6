"""One edit as text: its fields, its id, and its line in a memory file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeGuard

from serac_jax.core.errors import UserError

FORMAT, VERSION = "serac_jax edits", 1
HEADER = json.dumps({"format": FORMAT, "version": VERSION})
NOT_EMPTY = "a text that is not empty"


class Edit(NamedTuple):
    """What to answer to a prompt, and to every question that asks the same.

    Made by `make` or `parse`, which check the fields.

    Attributes:
      prompt: The question, or whatever the model is given.
      answer: What the model should answer.
      id: A hash of prompt, answer and tags: the same edit is the same line wherever it is made.
      tags: Who the edit is for, sorted. Untagged edits apply to everyone.
      note: What the edit is about, for people.
      author: Who made it.
      time: When it was made, as 2026-01-31T12:00:00Z.
      source: Where the answer is from.
      expires: The time from which on the edit is not used.
    """

    prompt: str
    answer: str
    id: str
    tags: tuple[str, ...] = ()
    note: str = ""
    author: str = ""
    time: str = ""
    source: str = ""
    expires: str = ""


FIELDS = Edit._fields
TEXTS = ("note", "author", "source")
ID = re.compile("[0-9a-f]{16}")
MARKER = re.compile(r"<<<<<<<|=======\s*$|>>>>>>>|\|\|\|\|\|\|\|")


def now() -> str:
    """The time now, as edits store it: UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def make(
    prompt: str,
    answer: str,
    *,
    tags: Iterable[str] = (),
    note: str = "",
    author: str = "",
    time: str = "",
    source: str = "",
    expires: str = "",
) -> Edit:
    """Makes an edit, with its id.

    Raises:
      UserError: Names the field that is not right.
    """
    fields = {
        "prompt": prompt,
        "answer": answer,
        "tags": list(tags) if not isinstance(tags, str) else tags,
    }
    return from_fields(
        fields
        | {
            "note": note,
            "author": author,
            "time": time,
            "source": source,
            "expires": expires,
        },
        "the new edit",
    )


def from_fields(fields: dict[str, Any], where: str) -> Edit:
    """Makes an edit from a dictionary, checked. Missing fields are empty.

    Args:
      fields: The fields; an id must be the right one.
      where: The file and line, or whatever an error should begin with.

    Raises:
      UserError: Names the field that is not right.
    """
    if unknown := [name for name in fields if name not in FIELDS]:
        raise UserError(f"{where}: unknown field {unknown[0]!r}; an edit has {', '.join(FIELDS)}")
    for name in ("prompt", "answer"):
        if name not in fields:
            raise UserError(f"{where}: the field {name!r} is missing")
    prompt, answer = (
        text(fields[name], f"{where}: field {name!r}", NOT_EMPTY) for name in ("prompt", "answer")
    )
    given: Any = fields.get("tags", [])
    if not is_list(given):
        raise UserError(f"{where}: field 'tags' should be a list of texts, not {shown(given)}")
    tags = tuple(sorted({text(tag, f"{where}: field 'tags'", NOT_EMPTY) for tag in given}))
    right = edit_id(prompt, answer, tags)
    if fields.get("id", right) != right:
        raise UserError(
            f"{where}: field 'id' is {shown(fields['id'])}, but that of this prompt, answer and"
            f" tags is {right}: the line was changed by hand or is damaged; leave the field out if"
            " the line is right"
        )
    note, author, source = (
        text(fields.get(name, ""), f"{where}: field {name!r}") for name in TEXTS
    )
    time, expires = (
        utc(fields.get(name, ""), f"{where}: field {name!r}") for name in ("time", "expires")
    )
    return Edit(prompt, answer, right, tags, note, author, time, source, expires)


def edit_id(prompt: str, answer: str, tags: Iterable[str]) -> str:
    """The first 16 hexadecimal digits of a SHA-256 of prompt, answer and sorted tags."""
    return hashlib.sha256(json.dumps([prompt, answer, sorted(tags)]).encode()).hexdigest()[:16]


def parse(line: str, where: str) -> Edit:
    """Parses a line of a memory file.

    Raises:
      UserError: Begins with `where`, the file and line, and names the field.
    """
    return from_fields(parse_object(line, where), where)


def parse_object(line: str, where: str) -> dict[str, Any]:
    """Parses a line that is one JSON object without repeated keys.

    Raises:
      UserError: It is not; git's conflict markers are named as such.
    """
    if MARKER.match(line):
        raise UserError(
            f"{where}: a conflict marker of git: keep the right lines of both sides, and remove the"
            " markers"
        )
    try:
        fields = LINES.decode(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not a line of JSON ({error})") from error
    if not is_object(fields):
        raise UserError(
            f"{where}: expected an object with the fields of an edit, not {shown(fields)}"
        )
    return fields


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a value that was read from JSON is an object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether a value is a list, as JSON or Python writes it."""
    return isinstance(value, list | tuple)


def of_fields(fields: dict[str, Any]) -> Edit:
    """An edit of fields as JSON has them, none of which is checked."""
    if "tags" in fields:
        fields["tags"] = tuple(fields["tags"])
    return Edit(**fields)


def trusted(fields: dict[str, Any]) -> Edit:
    """The edit of a line that this program wrote, as a checksum shows.

    Since anyone can make a checksum, what other code relies on is checked, as far as it is cheap.

    Raises:
      ValueError, TypeError: It is no edit.
    """
    edit = of_fields(fields)
    "".join((*edit[:3], *edit.tags, *edit[4:])).encode()
    if not ID.fullmatch(edit.id):
        raise ValueError(f"the id {shown(edit.id)} is none")
    if not (edit.prompt and edit.answer):  # which `format` would leave out
        raise ValueError("a prompt or an answer is empty")
    return edit


def format(edit: Edit) -> str:  # noqa: A001 (read as records.format)
    """The edit's line, without its end; empty fields are left out."""
    return json.dumps(as_fields(edit), ensure_ascii=False)


def as_fields(edit: Edit) -> dict[str, Any]:
    """The edit's fields that are not empty, as JSON has them."""
    return {
        name: list(value) if name == "tags" else value
        for name, value in zip(FIELDS, edit, strict=True)
        if value
    }


def check_header(line: str, where: str) -> None:
    """Checks the first line of a memory file.

    Raises:
      UserError: It is another, or of another version.
    """
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        header = None
    if not is_object(header) or header.get("format") != FORMAT:
        raise UserError(
            f"{where}: not a memory file, whose first line is {HEADER}; `import` reads other files"
        )
    if header.get("version") != VERSION:
        raise UserError(
            f"{where}: a memory file of version {shown(header.get('version'))}, but this program"
            f" reads version {VERSION}; update one of the two"
        )


def expired(edit: Edit, time: str) -> bool:
    """Whether an edit is not used any more at a time."""
    return bool(edit.expires) and edit.expires <= time


def utc(value: Any, where: str) -> str:
    """An ISO 8601 date or time, in UTC unless it says otherwise, as 2026-01-31T12:00:00Z; or "".

    Raises:
      UserError: It is neither.
    """
    if value == "":
        return ""
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(
            f"{where} should be a date or time as 2026-01-31 or 2026-01-31T12:00:00Z, not"
            f" {shown(value)}"
        ) from error
    return f"{moment.year:04}-{moment:%m-%dT%H:%M:%SZ}"


def text(value: Any, where: str, wanted: str = "a text") -> str:
    """Returns the value if it is a text that a file can hold.

    Raises:
      UserError: It is not.
    """
    if not isinstance(value, str) or (wanted == NOT_EMPTY and not value.strip()):
        raise UserError(f"{where} should be {wanted}, not {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where} is not valid UTF-8 (it has a lone surrogate, {value[error.start]!r})"
        ) from error
    return value


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are all different."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError(f"a field is given twice: {', '.join(name for name, _ in pairs)}")
    return fields


def shown(value: Any) -> str:
    """A value as error messages quote it, cut to 60 characters."""
    return repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}…"


LINES = json.JSONDecoder(object_pairs_hook=without_repeats)


def covers(old: Edit | None, new: Edit) -> bool:
    """Whether a new edit says nothing that the old one does not; its author and time aside."""
    return old is not None and old._replace(author=new.author, time=new.time) == new
