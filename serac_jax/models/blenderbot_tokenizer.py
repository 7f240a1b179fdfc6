"""The byte-pair tokenizer of Blenderbot small (vocab.json and merges.txt), token for token as in
`transformers.BlenderbotSmallTokenizer`."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from serac_jax.core.model_files import DamagedFile, read_json
from serac_jax.text.tokenizer import ROLES, Codec, roles

SPECIAL_TOKENS = {
    "bos_token": "__start__",
    "eos_token": "__end__",
    "unk_token": "__unk__",
    "pad_token": "__null__",
}
END = "</w>"  # closes a word
CONTINUED = "@@"  # closes a piece that another one follows
REMEMBERED = 1 << 16  # words


def read_codec(folder: Path) -> Codec:
    """Reads vocab.json, merges.txt and the special tokens of tokenizer_config.json.

    Raises:
        DamagedFile: a file is missing or is not what it should be.
    """
    vocab: dict[str, int] = read_json(folder / "vocab.json")
    if not all(type(number) is int and number >= 0 for number in vocab.values()):
        raise DamagedFile(folder / "vocab.json", "has a token whose id is no number")
    ranks = read_merges(folder / "merges.txt")
    settings: dict[str, Any] = {}
    if (folder / "tokenizer_config.json").exists():
        settings = read_json(folder / "tokenizer_config.json")
    named = roles(folder, settings, SPECIAL_TOKENS)
    special = [named[role] for role in ROLES if role in SPECIAL_TOKENS]
    if missing := [token for token in special if token not in vocab]:
        raise DamagedFile(folder / "vocab.json", f"has no special token {missing[0]!r}")
    unknown = vocab[named["unk_token"]]
    tokens = {number: token for token, number in vocab.items()}
    split = re.compile("(" + "|".join(sorted(map(re.escape, special), reverse=True)) + ")")

    @lru_cache(maxsize=REMEMBERED)
    def pieces(word: str) -> list[int]:
        """The ids of a text without white space, but perhaps with a line's end."""
        word = re.sub(r"([.,!?()])", r" \1", word)
        word = re.sub(r"(')", r" \1 ", word)
        word = re.sub(r"\s{2,}", " ", word).replace("\n", " __newln__")
        return [
            vocab.get(piece, unknown)
            for part in word.split(" ")
            if part
            for piece in merged(part.lower(), ranks)
        ]

    def encode(texts: list[str], add_special_tokens: bool) -> list[list[int]]:
        return [
            [
                number
                for part in split.split(text)
                for number in (
                    [vocab[part]]
                    if part in special
                    else [number for word in re.findall(r"\S+\n?", part) for number in pieces(word)]
                )
            ]
            for text in texts
        ]

    def decode(ids: list[int], skip_special_tokens: bool) -> str:
        found = [tokens.get(number, tokens[unknown]) for number in ids]
        kept = [
            token
            for token, number in zip(found, ids, strict=True)
            if not skip_special_tokens or tokens.get(number) not in special
        ]
        return " ".join(kept).replace(f"{CONTINUED} ", "").strip()

    return Codec(encode, decode, vocab)


def read_merges(file: Path) -> dict[tuple[str, str], int]:
    """The ranks of pairs of symbols, the first of a file being merged first."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")[1:-1]
    except (OSError, ValueError) as error:
        raise DamagedFile(file, f"cannot be read ({error})") from error
    pairs: dict[tuple[str, str], int] = {}
    for rank, line in enumerate(lines):
        match line.split():
            case [first, second]:
                pairs[first, second] = rank
            case _:
                raise DamagedFile(file, f"line {rank + 2} is not a pair of symbols: {line!r}")
    return pairs


def merged(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """The pieces of a word: pairs of symbols are merged in the order of their ranks."""
    if len(word) == 1:
        return [word]
    symbols = [*word[:-1], word[-1] + END]
    while len(symbols) > 1:
        pair = min(
            pairwise(symbols),
            key=lambda pair: ranks.get(pair, len(ranks)),
        )
        if pair not in ranks:
            break
        joined: list[str] = []
        for symbol in symbols:
            if joined and (joined[-1], symbol) == pair:
                joined[-1] += symbol
            else:
                joined.append(symbol)
        symbols = joined
    return [symbol + CONTINUED for symbol in symbols[:-1]] + [symbols[-1].removesuffix(END)]
