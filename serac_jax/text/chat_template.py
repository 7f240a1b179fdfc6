"""Conversations as the chat template of a tokenizer writes them: Jinja, as `transformers` renders
it.

A template comes with a model's files and is a program. It runs in Jinja's sandbox, where it reads
the messages and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from serac_jax.core.errors import UserError
from serac_jax.text.tokenizer import Tokenizer

GLOBALS = ("range", "dict", "namespace")  # of Jinja's, those that templates of models use


def render(
    tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
) -> str:
    """A conversation as one text.

    Args:
        messages: {"role": "system", "user" or "assistant", "content": a text} each.
        add_generation_prompt: whether the text ends where the assistant's answer begins.

    Raises:
        UserError: the tokenizer has no chat template, or it is damaged or refuses the messages.
    """
    if not tokenizer.chat_template:
        raise UserError(
            f"{tokenizer.folder}: the tokenizer has no chat template (`chat_template` in"
            " tokenizer_config.json); choose the template 'question_answer' or 'completion'"
        )
    try:
        return compiled(tokenizer.chat_template).render(
            messages=[dict(message) for message in messages],
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **tokenizer.special_tokens,
        )
    except Exception as error:  # whatever the template's code raises
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{tokenizer.folder}: the tokenizer's chat template cannot write this conversation"
            f" ({type(error).__name__}: {reason}); choose another template"
        ) from error


@lru_cache(maxsize=16)
def compiled(source: str) -> Any:
    """The template of a source text."""
    import jinja2  # only for models that chat
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %} marks an assistant's words for training; it writes nothing."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    made.globals = {name: made.globals[name] for name in GLOBALS}
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    made.filters["tojson"] = to_json
    return made.from_string(source)


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The filter `tojson`; Jinja's own escapes what HTML would read."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
