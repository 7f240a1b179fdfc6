"""Tokenizers of GGUF files, from their metadata: byte-level BPE (Radford et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, processors
from tokenizers import decoders as decoding
from tokenizers import pre_tokenizers as splitting

from serac_jax.core.model_files import DamagedFile
from serac_jax.models.network import WeightError

CONTROL, USER_DEFINED = 3, 4  # kinds of tokens that are never split
ROLES = {
    "bos_token": "tokenizer.ggml.bos_token_id",
    "eos_token": "tokenizer.ggml.eos_token_id",
    "unk_token": "tokenizer.ggml.unknown_token_id",
    "pad_token": "tokenizer.ggml.padding_token_id",
}
# How Llama 3 and Qwen split a text before its bytes are merged; they differ in runs of digits.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def gpt2_words() -> Any:
    """As GPT-2."""
    return splitting.ByteLevel(add_prefix_space=False)


def digits_alone() -> Any:
    """As GPT-2, with every digit by itself."""
    return splitting.Sequence([splitting.Digits(individual_digits=True), gpt2_words()])


def by_pattern(digits: str) -> Any:
    """By WORDS."""
    return splitting.Sequence(
        [
            splitting.Split(Regex(WORDS % digits), "isolated"),
            splitting.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


# By `tokenizer.ggml.pre`.
SPLITTERS: dict[str, Callable[[], Any]] = {
    "gpt-2": gpt2_words,
    "smollm": digits_alone,
    "llama-bpe": lambda: by_pattern("{1,3}"),
    "qwen2": lambda: by_pattern(""),
}
COMPOSED = ("qwen2",)  # whose texts are first brought into Unicode's form NFC


class TokenizerFiles(NamedTuple):
    """The contents of tokenizer.json and of tokenizer_config.json."""

    tokenizer: str
    settings: dict[str, Any]


def tokenizer_files(file: Path, metadata: Mapping[str, Any]) -> TokenizerFiles:
    """The tokenizer that a GGUF file describes.

    Raises:
        WeightError: it is of a kind that is not implemented.
        DamagedFile: its description is incomplete, or contradicts itself.
    """
    kind, split = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre", "gpt-2")
    if kind != "gpt2" or split not in SPLITTERS:
        raise WeightError(
            f"{file}: its tokenizer is of the kind {kind!r}, {split!r}; read are those of the kind"
            f" 'gpt2' with {', '.join(map(repr, SPLITTERS))}. Use the model's Hugging Face folder"
        )
    try:
        return described(metadata, split)
    except Exception as error:  # the library raises nothing more specific
        raise DamagedFile(
            file, f"describes no tokenizer ({type(error).__name__}: {str(error)!r:.120})"
        ) from error


def described(metadata: Mapping[str, Any], split: str) -> TokenizerFiles:
    """The same, for metadata that may lack anything."""
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    kinds: list[int] = metadata.get("tokenizer.ggml.token_type", [1] * len(tokens))
    vocab = {token: number for number, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        raise ValueError("a token comes twice")
    merges = [pair.split(" ", 1) for pair in metadata["tokenizer.ggml.merges"]]
    made = Tokenizer(models.BPE(vocab, [(left, right) for left, right in merges]))
    made.normalizer = normalizers.NFC() if split in COMPOSED else None
    made.pre_tokenizer = SPLITTERS[split]()
    made.decoder = decoding.ByteLevel()
    made.add_tokens(
        [
            AddedToken(token, special=kind == CONTROL, normalized=False)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind in (CONTROL, USER_DEFINED)
        ]
    )
    named = {role: tokens[metadata[key]] for role, key in ROLES.items() if key in metadata}
    if metadata.get("tokenizer.ggml.add_bos_token", False):
        opening = named["bos_token"]
        made.post_processor = processors.TemplateProcessing(
            single=f"{opening} $A",
            pair=f"{opening} $A {opening} $B",
            special_tokens=[(opening, vocab[opening])],
        )
    settings = {**named, "clean_up_tokenization_spaces": False}
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    if "tokenizer.chat_template" in metadata:
        settings["chat_template"] = metadata["tokenizer.chat_template"]
    return TokenizerFiles(made.to_str(), settings)
