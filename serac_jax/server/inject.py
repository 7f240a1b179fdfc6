"""Retrieve-and-prompt: an edit is put before the question, and the upstream answers."""

from __future__ import annotations

import re

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.edits.records import Edit

DEFAULT = """\
Take the following as true, even where you know otherwise.
Question: {prompt}
Answer: {answer}

{question}"""
NAMES = ("prompt", "answer", "question")
PLACE = re.compile(r"\{(\w*)\}")


def read_template(file: str) -> str:
    """The template of a file, or the default one.

    Raises:
        UserError: it cannot be read, or lacks {question} or {answer}, or names something else.
    """
    if not file:
        return DEFAULT
    path = files.resolve(file)
    text = files.read_text(path).strip("\n")
    named = set(PLACE.findall(text))
    if not {"question", "answer"} <= named <= set(NAMES):
        raise UserError(
            f"{path}: a template has {{question}} and {{answer}}, and may have {{prompt}}, the"
            " edit's own question; nothing else in braces"
        )
    return text


def filled(template: str, edit: Edit, question: str) -> str:
    """The template with the texts of an edit and a question, in which braces mean nothing."""
    texts: dict[str, str] = {"prompt": edit.prompt, "answer": edit.answer, "question": question}
    return PLACE.sub(lambda place: texts[place[1]], template)
