"""Tokenizers of Hugging Face folders, read without importing `transformers`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.core.model_files import DamagedFile, read_json

# The files that a tokenizer may consist of.
FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "tokenizer.model",
)
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
CLEANED = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)  # as `transformers` cleans up spaces


class Codec(NamedTuple):
    """What maps text to ids and back.

    Args:
        encode: (texts, whether to add special tokens) -> a list of ids for each text.
        decode: (ids, whether to leave out special tokens) -> text.
        vocab: the ids by token.
        serialized: the content of tokenizer.json, where there is one to write.
        spaces_matter: whether spaces before punctuation are always kept, as with BPE.
    """

    encode: Callable[[list[str], bool], list[list[int]]]
    decode: Callable[[list[int], bool], str]
    vocab: dict[str, int]
    serialized: Callable[[], str] | None = None
    spaces_matter: bool = False


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A tokenizer, with as much of the interface of `transformers` as is used here.

    Args:
        folder: where its files are.
        special_tokens: by role, such as "pad_token".
        clean_up: whether spaces before punctuation are removed from decoded text.
        chat_template: how a conversation is written, see `chat_template.render`; "": nothing says.
    """

    folder: Path
    codec: Codec
    special_tokens: Mapping[str, str]
    clean_up: bool
    chat_template: str = ""

    def __call__(
        self, text: str | Sequence[str], add_special_tokens: bool = True
    ) -> dict[str, Any]:
        """{"input_ids": the ids of a text, or a list of them for several texts}."""
        if isinstance(text, str):
            return {"input_ids": self.codec.encode([text], add_special_tokens)[0]}
        return {"input_ids": self.codec.encode(list(text), add_special_tokens)}

    def decode(
        self,
        ids: Iterable[int | np.integer],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str:
        """The text of some ids, as `transformers` decodes it.

        Args:
            clean_up_tokenization_spaces: None: as the tokenizer's files ask.
        """
        clean_up = self.clean_up
        if clean_up_tokenization_spaces is not None:
            clean_up = clean_up_tokenization_spaces
        text = self.codec.decode([int(number) for number in ids], skip_special_tokens)
        if clean_up and not self.codec.spaces_matter:
            for spaced, cleaned in CLEANED:
                text = text.replace(spaced, cleaned)
        return text

    def batch_decode(
        self,
        rows: Iterable[Iterable[int | np.integer]],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """`decode` of every row."""
        clean_up = clean_up_tokenization_spaces
        return [self.decode(row, skip_special_tokens, clean_up) for row in rows]

    def __len__(self) -> int:
        return len(self.codec.vocab)

    def get_vocab(self) -> dict[str, int]:
        """The ids by token."""
        return dict(self.codec.vocab)

    def special_id(self, role: str) -> int | None:
        """The id of a special token; None where the tokenizer has none of this role."""
        return self.codec.vocab.get(self.special_tokens.get(role, ""))

    @property
    def all_special_tokens(self) -> list[str]:
        """The special tokens that have a role."""
        return list(dict.fromkeys(self.special_tokens.values()))

    @property
    def sep_token(self) -> str | None:
        return self.special_tokens.get("sep_token")

    @property
    def sep_token_id(self) -> int | None:
        return self.special_id("sep_token")

    @property
    def pad_token_id(self) -> int | None:
        return self.special_id("pad_token")

    @property
    def bos_token_id(self) -> int | None:
        return self.special_id("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        return self.special_id("eos_token")

    @property
    def unk_token_id(self) -> int | None:
        return self.special_id("unk_token")

    def save_pretrained(self, folder: Path) -> None:
        """Copies the tokenizer's files, and writes tokenizer.json where it was made in memory."""
        for name in FILES:
            if (self.folder / name).is_file():
                files.write(folder / name, (self.folder / name).read_bytes())
        if self.codec.serialized and not (folder / "tokenizer.json").exists():
            files.write(folder / "tokenizer.json", self.codec.serialized().encode())


def read(
    folder: Path,
    special_tokens: Mapping[str, str] = {},
    codec: Callable[[Path], Codec] | None = None,
) -> Tokenizer:
    """Reads the tokenizer of a folder.

    Args:
        folder: a Hugging Face folder.
        special_tokens: those of a tokenizer that does not name its own.
        codec: reads the files of a tokenizer without tokenizer.json. None: `transformers` does.

    Raises:
        UserError: there is no tokenizer, its files are damaged, or it asks for code of its own.
    """
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).exists():
            settings |= read_json(folder / name)
    written = chat_template(folder, settings)
    if not (folder / "tokenizer.json").exists() and codec is None:
        return replace(from_transformers(folder, special_tokens), chat_template=written)
    found = fast_codec if codec is None or (folder / "tokenizer.json").exists() else codec
    return Tokenizer(
        folder,
        found(folder),
        roles(folder, settings, special_tokens),
        bool(settings.get("clean_up_tokenization_spaces", False)),
        written,
    )


def chat_template(folder: Path, settings: Mapping[str, Any]) -> str:
    """The chat template of a folder, the default one where it has several; "" where it has none."""
    if (file := folder / "chat_template.jinja").is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise DamagedFile(file, f"cannot be read ({error})") from error
    found = settings.get("chat_template") or ""
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default", "")
    if not isinstance(found, str):
        raise DamagedFile(folder / "tokenizer_config.json", "has a chat_template that is no text")
    return found


def roles(folder: Path, settings: Mapping[str, Any], defaults: Mapping[str, str]) -> dict[str, str]:
    """The special tokens by role; tokens may be written as text or as an object with `content`.

    Raises DamagedFile where one is neither."""
    found = dict(defaults)
    for role in ROLES:
        token = settings.get(role)
        if token is not None:
            text = token.get("content") if isinstance(token, dict) else token
            if not isinstance(text, str):
                raise DamagedFile(folder / "tokenizer_config.json", f"has a {role} without a text")
            found[role] = text
    return found


def fast_codec(folder: Path) -> Codec:
    """Reads the tokenizer.json of a folder."""
    file = folder / "tokenizer.json"
    try:
        backend = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more specific
        raise DamagedFile(file, f"is not a tokenizer ({error})") from error
    if missing := unlisted_tokens(backend):
        raise DamagedFile(file, f"adds {missing[0]!r} to texts, and does not say which token it is")
    return codec_of(backend)


def unlisted_tokens(backend: tokenizers.Tokenizer) -> list[str]:
    """Special tokens that templates name and do not list, at which the library panics."""
    if backend.post_processor is None:
        return []
    state = json.loads(backend.post_processor.__getstate__())
    return [
        piece["SpecialToken"]["id"]
        for processor in state.get("processors", [state])
        for form in ("single", "pair")
        for piece in processor.get(form, [])
        if "SpecialToken" in piece
        and piece["SpecialToken"]["id"] not in processor["special_tokens"]
    ]


def codec_of(backend: tokenizers.Tokenizer) -> Codec:
    """The codec of a tokenizer of the `tokenizers` package; it is never changed again, and can be
    used by several threads."""
    backend.no_padding()
    backend.no_truncation()

    def encode(texts: list[str], add_special_tokens: bool) -> list[list[int]]:
        found = backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        return [encoding.ids for encoding in found]

    def decode(ids: list[int], skip_special_tokens: bool) -> str:
        return backend.decode(ids, skip_special_tokens=skip_special_tokens)

    vocab = backend.get_vocab(with_added_tokens=True)
    return Codec(encode, decode, vocab, backend.to_str, type(backend.model).__name__ == "BPE")


def from_transformers(folder: Path, special_tokens: Mapping[str, str]) -> Tokenizer:
    """Reads a tokenizer in a format that only `transformers` knows, such as spiece.model.

    Its code is that of the installed package; none of the folder's is run.
    """
    from transformers import AutoTokenizer

    try:
        read = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        codec = codec_of(tokenizers.Tokenizer.from_str(read.backend_tokenizer.to_str()))
    except Exception as error:  # whatever the tokenizer's class raises
        raise UserError(
            f"{folder}: there is no tokenizer.json, and transformers reads no fast tokenizer from"
            f" the other files ({type(error).__name__}: {files.reason(error)})"
        ) from error
    named = {role: getattr(read, role) for role in ROLES if getattr(read, role, None)}
    return Tokenizer(
        folder, codec, {**special_tokens, **named}, bool(read.clean_up_tokenization_spaces)
    )
