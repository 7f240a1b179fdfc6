"""Who asks: API keys, and what their owners may see and change.

A key file has a line of JSON a key, {"name", "hash", "tags", "may_edit", "made"}; the key itself is
shown once, when it is made. Keys are 256 random bits, so that SHA-256 without salt is enough.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.edits import records
from serac_jax.edits.operations import Operation
from serac_jax.edits.records import Edit
from serac_jax.index.tags import Tags, visible

PREFIX = "sk-serac-"
FIELDS = {"name": str, "hash": str, "tags": list, "may_edit": bool, "made": str}


class Tenant(NamedTuple):
    """Who asks.

    Attributes:
        name: signs changes; "" where there are no keys.
        tags: the edits that it sees, besides untagged ones; None: all.
        may_edit: whether it may change edits: with tags, those whose tags are all its own.
    """

    name: str = ""
    tags: tuple[str, ...] | None = None
    may_edit: bool = True

    def sees(self, edit: Edit) -> bool:
        """Whether an edit may be shown to it."""
        return visible(edit.tags, self.tags)

    def may_change(self, edit: Edit) -> bool:
        """Whether it may add or remove an edit."""
        return self.may_edit and (
            self.tags is None or (bool(edit.tags) and set(edit.tags) <= set(self.tags))
        )

    def may_take_back(self, operation: Operation) -> bool:
        """Whether it may undo or redo an operation."""
        return all(self.may_change(edit) for placed in operation.change for _, edit in placed)

    def asking(self, tags: Collection[str] | None) -> Tags:
        """The tags of its question; `tags` are those that it asked for.

        Raises:
            Forbidden: one of them is not its own.
        """
        if tags is None:
            return self.tags
        if self.tags is not None and (others := sorted(set(tags) - set(self.tags))):
            raise Forbidden(f"this key does not see edits with the tag {others[0]!r}")
        return tuple(tags)


class Forbidden(UserError):
    """A key may not do this."""


class KeyFile:
    """The keys that are known now."""

    def __init__(self, path: Path):
        self.path, self.stamp = path, (0, 0, 0)
        self.tenants: dict[str, Tenant] = {}
        self.refresh()

    def find(self, key: str) -> Tenant | None:
        """The owner of a key."""
        return self.tenants.get(digest(key))

    def refresh(self) -> None:
        """Reads the file again where it has changed.

        Raises:
            UserError: it cannot be read; the keys stay as they were.
        """
        if (stamp := files.stamp(self.path)) == self.stamp:
            return
        if not stamp[1]:
            raise UserError(f"{self.path}: there is no API key; `serac serve key NAME` makes one")
        self.tenants = parsed(files.read_text(self.path), self.path)
        self.stamp = stamp


def parsed(text: str, path: Path) -> dict[str, Tenant]:
    """The owners of keys by the hashes of these. Raises UserError, which names the line."""
    found: dict[str, Tenant] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        fields: dict[str, Any] = records.parse_object(line, f"{path}:{number}")
        if fields.keys() != FIELDS.keys() or any(
            not isinstance(fields[name], kind) for name, kind in FIELDS.items()
        ):
            raise UserError(
                f"{path}:{number}: not an API key; expected {', '.join(FIELDS)}, as `serac serve"
                " key` writes them"
            )
        tags = tuple(map(str, fields["tags"])) or None
        found[fields["hash"]] = Tenant(fields["name"], tags, fields["may_edit"])
    return found


def make_key(path: Path, name: str, tags: Iterable[str], may_edit: bool) -> str:
    """Adds a key to a file, which only its owner may read, and returns it.

    Raises:
        UserError: the file cannot be written, or has a key of this name.
    """
    path = files.resolve(path)
    if not name.strip() or not name.isprintable():
        raise UserError("a key needs a name: `serac serve key ann --api-keys=keys.jsonl`")
    key = PREFIX + secrets.token_urlsafe(32)
    fields = {
        "name": name,
        "hash": digest(key),
        "tags": sorted(set(tags)),
        "may_edit": may_edit,
        "made": records.now(),
    }
    try:
        with files.locked(path.with_name(f"{path.name}.lock")):
            text = files.text_of(files.read(path), str(path))
            if any(one.name == name for one in parsed(text, path).values()):
                raise UserError(
                    f"{path} has a key of the name {name!r}; remove its line to withdraw it"
                )
            new = not path.exists()
            files.write(path, (text + json.dumps(fields) + "\n").encode())
            if new:
                path.chmod(0o600)
    except OSError as error:
        raise UserError(f"cannot write {path} ({files.reason(error)})") from error
    return key


def digest(key: str) -> str:
    """How a file names a key."""
    return "sha256:" + hashlib.sha256(key.encode(errors="replace")).hexdigest()
