"""Configs of runs that earlier versions have trained, in the fields of this one."""

from __future__ import annotations

from typing import Any

# Until version 0.2 the sizes of batches were configured, by lists in the section "data".
WIDTHS = ("text_widths", "label_widths", "query_widths", "edit_label_widths", "context_widths")
FILLS = ("text_fill", "context_fill", "label_fill")


def upgraded(saved: dict[str, Any]) -> dict[str, Any]:
    """A config as it was saved, with fields of this version instead of those that were retired.

    Texts are cut at the same limits as before; the sizes between are measured.
    """
    data = saved.get("data", {})
    if "text_widths" not in data:
        return saved
    old = {name: data[name] for name in (*WIDTHS, *FILLS)}
    kept = {name: value for name, value in data.items() if name not in old}
    return saved | {
        "data": kept
        | {
            "question_tokens": max([*old["text_widths"], *old["query_widths"]]),
            "answer_tokens": old["label_widths"][-1],
            "edit_answer_tokens": (old["edit_label_widths"] or [0])[-1],
            "sizes": max(map(len, old.values())),
        }
    }
