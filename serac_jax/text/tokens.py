"""Token ids of texts, and padding.

Everything here follows from the tokenizer alone; how texts are put together is the job of
`templates`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from serac_jax.core.batch import Tokens
from serac_jax.text.tokenizer import Tokenizer

LOADED = 16  # tokenizers whose texts are remembered
REMEMBERED = 1 << 16  # texts remembered for each tokenizer
Ids = list[list[int]]  # one row of token ids for each text


@lru_cache(maxsize=LOADED)
def prefix_token_count(tokenizer: Tokenizer) -> int:
    """How many special tokens open a text: 1 for BERT's [CLS], 0 for T5."""
    return (
        len(tokenizer("a")["input_ids"])
        - len(tokenizer("a", add_special_tokens=False)["input_ids"])
        - suffix_token_count(tokenizer)
    )


@lru_cache(maxsize=LOADED)
def suffix_token_count(tokenizer: Tokenizer) -> int:
    """How many special tokens close a text: 1 for T5's </s> and BERT's [SEP]."""
    ids, bare = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
    return (
        len(ids)
        - len(bare)
        - next(start for start in range(len(ids)) if ids[start : start + len(bare)] == bare)
    )


@lru_cache(maxsize=LOADED)
def folds_case(tokenizer: Tokenizer) -> bool:
    """Whether a vocabulary knows only lower case."""
    return tokenizer("A")["input_ids"] == tokenizer("a")["input_ids"]


@lru_cache(maxsize=LOADED)
def remembered(tokenizer: Tokenizer) -> dict[str, list[int]]:
    """Ids of texts that were read."""
    return {}


def ids(tokenizer: Tokenizer, texts: Sequence[str]) -> Ids:
    """Ids of each text, which may not be changed. A text that was read lately, as another answer's
    question or in another epoch, is not read again."""
    known = remembered(tokenizer)
    found = {text: known.get(text) for text in texts}
    if new := [text for text, row in found.items() if row is None]:
        read = dict(zip(new, tokenizer(new)["input_ids"], strict=True))
        if len(known) + len(read) > REMEMBERED:
            known.clear()
        known.update(read)
        found |= read
    return [found[text] for text in texts]  # pyright: ignore[reportReturnType]


def bare(tokenizer: Tokenizer, texts: Sequence[str]) -> Ids:
    """Ids of each text without the tokens that the tokenizer opens and closes it with."""
    opening, closing = prefix_token_count(tokenizer), suffix_token_count(tokenizer)
    return [row[opening : len(row) - closing] for row in ids(tokenizer, texts)]


def cut_to(row: list[int], room: int) -> list[int]:
    """The first `room` ids of a row."""
    return row[: max(room, 0)]


def cut(tokenizer: Tokenizer, texts: Sequence[str], width: int) -> Ids:
    """Ids of each text, its closing special tokens kept; done here because a tokenizer's own
    truncation is not safe in threads."""
    close = suffix_token_count(tokenizer)
    rows = ids(tokenizer, texts)
    return [
        row if len(row) <= width else row[: width - close] + row[len(row) - close :] for row in rows
    ]


def host(values: Any, dtype: Any) -> Any:
    """An array on the host, where batches are made; its type says nothing, since the types of
    batches are those of the device."""
    return np.asarray(values, dtype)


def pad(rows: Sequence[Sequence[int]], width: int) -> Tokens:
    """Right-padded ids and mask; rows longer than `width` are a programming error."""
    ids, mask = (
        host(np.zeros((len(rows), width)), np.int32),
        host(np.zeros((len(rows), width)), bool),
    )
    for ids_row, mask_row, row in zip(ids, mask, rows, strict=True):
        ids_row[: len(row)] = row
        mask_row[: len(row)] = True
    return Tokens(ids, mask)


def smallest(widths: tuple[int, ...], length: int) -> int:
    """The first width that holds `length`; the last one where none does."""
    return next((width for width in widths if width >= length), widths[-1])
