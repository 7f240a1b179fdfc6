"""Rows of published data sets as facts: one function a data set.

Each takes a row and its place, and gives facts; what cannot be used is counted in `left_out` by the
reason. Field names are those of the public files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from serac_jax.edits.records import is_list, is_object, shown
from serac_jax.tasks.facts.fact_rows import Ask, Fact, checked
from serac_jax.text.queries import DataError

Row = dict[str, Any]
LeftOut = Counter[str]
NO_ANSWER = "rows without a new answer"
# Groups of questions in KnowEdit and EasyEdit, in lower case. None: the edit's scope does not say
# what should happen: "which is not ANSWER" asks for the edit's own relation, and a distracting
# prompt states the edit.
GROUPS: dict[str, str | None] = {
    "reasoning": "hop2",
    "one_hop": "hop2",
    "inference": "hop2",
    "subject_aliasing": "alias",
    "subject_replace": "alias",
    "synonym": "alias",
    "logical_generalization": "implied",
    "inverse_relation": "reversed",
    "relation_specificity": "same_subject",
    "other_attribution": "same_subject",
    "neighborhood": "same_relation",
    "forgetfulness": None,
    "distracting": None,
}
# What differs between a hard negative of a zsRE row and the edit, and so what is the same.
NEAR = {"relation": "same_subject", "subject": "same_relation"}


class Form(NamedTuple):
    """A published data set.

    Attributes:
      name: As the shell names it.
      fits: Whether a row has its fields, and no other data set's.
      facts: The facts of a row.
    """

    name: str
    fits: Callable[[Row], bool]
    facts: Callable[[Row, str, LeftOut], Iterator[Fact]]


def zsre(row: Row, where: str, left_out: LeftOut) -> Iterator[Fact]:
    """zsRE as MEND and ROME have it (src, alt), or as SERAC's archive has (input, alternatives)."""
    if "src" in row:
        prompt, new, true = one(row, "src", where), texts(row.get("alt"), where), row.get("answers")
        asks = [*rephrasings(row.get("rephrase"), where)]
        for question, answer in pairs(row.get("loc"), row.get("loc_ans"), where):
            asks.append(Ask("unrelated", question.removeprefix("nq question: "), answer))
        portability = row.get("portability")
        if is_object(portability):  # EasyEdit's file
            asked = pairs(portability.get("New Question"), portability.get("New Answer"), where)
            asks += [Ask("hop2", question, answers) for question, answers in asked if answers]
    else:
        prompt, new = one(row, "input", where), texts(row.get("alternatives"), where)
        output = members(row, "output", where)
        true = [answer.get("answer") for answer in output if is_object(answer)]
        asks = [*rephrasings(row.get("filtered_rephrases"), where)]
        for near in members(row, "hard_negatives", where):
            question, *others = texts(near, f"{where}: field 'hard_negatives'") or [""]
            if len(others) == 2 and others[1] in NEAR:
                asks.append(Ask(NEAR[others[1]], question, (others[0],)))
            else:
                left_out["hard negatives that do not say what differs"] += 1
    yield from fact(prompt, new, row.get("subject"), true, asks, where, left_out)


def counterfact(row: Row, where: str, left_out: LeftOut) -> Iterator[Fact]:
    """CounterFact as ROME gives it (requested_rewrite), or flat, as RECIPE and EasyEdit do.

    `attribute_prompts` are not used: their answer is the new one already, so that nobody can tell
    whether the edit changed it.
    """
    if "requested_rewrite" not in row:
        yield from flat(row, where, left_out, "same_relation")
        return
    prompt, new, subject, true = rewrite(
        row["requested_rewrite"], f"{where}: field 'requested_rewrite'"
    )
    asks = [*rephrasings(row.get("paraphrase_prompts"), where)]
    asks += [
        Ask("same_relation", question, tuple(true))
        for question in texts(row.get("neighborhood_prompts"), where)
    ]
    yield from fact(prompt, new, subject, true, asks, where, left_out)


def mquake(row: Row, where: str, left_out: LeftOut) -> Iterator[Fact]:
    """MQuAKE: every edit of a case as a completion, its question as a rephrasing.

    The case's own questions go with its edit where it has just one: those of several edits are only
    answered when all of them are held.
    """
    edits = members(row, "requested_rewrite", where)
    if not edits:
        raise DataError(f"{where}: the field 'requested_rewrite' is missing or empty")
    hops = members(row, "new_single_hops", where) or members(row, "single_hops", where)
    kind, several = f"hop{len(hops)}", len(edits) > 1
    accepted = (*texts(row.get("new_answer"), where), *texts(row.get("new_answer_alias"), where))
    for number, edit in enumerate(edits):
        prompt, new, subject, true = rewrite(edit, f"{where}: requested_rewrite[{number}]")
        asks = [*rephrasings(edit.get("question"), where)]
        asked = texts(row.get("questions"), where) if number == 0 else []
        if several or len(hops) < 2 or not accepted:
            left_out["questions of a case of several edits"] += len(asked)
        else:
            asks += [Ask(kind, question, accepted) for question in asked]
        yield from fact(prompt, new, subject, true, asks, where, left_out)


def knowedit(row: Row, where: str, left_out: LeftOut) -> Iterator[Fact]:
    """KnowEdit: groups of questions under "portability" and "locality"."""
    yield from flat(row, where, left_out, "unrelated")


easyedit = knowedit  # the same fields, flat or in groups


def qaedit(row: Row, where: str, left_out: LeftOut) -> Iterator[Fact]:
    """QAEdit: questions of other data sets as locality."""
    asks = [*rephrasings(row.get("rephrase"), where)]
    for near in members(row, "locality", where):
        if not is_object(near):
            raise DataError(
                f"{where}: field 'locality' should be a list of objects with 'loc' and"
                f" 'loc_ans', not of {shown(near)}"
            )
        found = pairs(near.get("loc"), near.get("loc_ans"), where)
        asks += [Ask("unrelated", question, answers) for question, answers in found]
    prompt, new = one(row, "prompt", where), texts(row.get("target"), where)
    yield from fact(prompt, new, row.get("subject"), None, asks, where, left_out)


def hallueditbench(row: Row, where: str, left_out: LeftOut) -> Iterator[Fact]:
    """HalluEditBench: the edit is the true answer, which the model did not know."""
    subject, answer = one(row, "subject", where), texts(row.get("object"), where)
    asks = [*rephrasings(row.get("paraphrased_question"), where)]
    for kind, field, accepted in (
        ("yes_no", "yes_question", ("Yes",)),
        ("yes_no", "no_question", ("No",)),
        ("reversed", "reversed_relation_question", (subject,)),
        ("same_subject", "locality_question", ()),
    ):
        asks += [Ask(kind, question, accepted) for question in texts(row.get(field), where)]
    for hops in range(2, 7):
        found = pairs(row.get(f"question_{hops}hop"), row.get(f"answer_{hops}hop"), where)
        asks += [Ask(f"hop{hops}", question, answers) for question, answers in found if answers]
    prompt = one(row, "question", where)
    yield from fact(prompt, answer, subject, answer, asks, where, left_out)


def flat(row: Row, where: str, left_out: LeftOut, locality: str) -> Iterator[Fact]:
    """A row of prompt and target_new.

    Args:
      locality: The kind of `locality_prompt`.
    """
    rephrased = row.get("rephrase_prompt") or row.get("rephrase")
    asks = [*rephrasings(rephrased, where)]
    for name, kind in (("locality", locality), ("portability", "hop2")):
        flat_pairs = pairs(row.get(f"{name}_prompt"), row.get(f"{name}_ground_truth"), where)
        asks += [Ask(kind, *pair) for pair in flat_pairs if pair[1] or kind != "hop2"]
        groups = row.get(name) or {}
        if not is_object(groups):
            raise DataError(f"{where}: field {name!r} should be an object, not {shown(groups)}")
        for group, content in groups.items():
            known = GROUPS.get(group.lower())
            for question, answers in grouped(content, f"{where}: {name}.{group}"):
                if known and (answers or known.startswith("same")):
                    asks.append(Ask(known, question, answers))
                else:
                    left_out[f"questions of {group}" + (" without an answer" if known else "")] += 1
    prompt, new = one(row, "prompt", where), texts(row.get("target_new"), where)
    yield from fact(prompt, new, row.get("subject"), row.get("ground_truth"), asks, where, left_out)


def grouped(content: Any, where: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The questions of a group: a list of objects, or one object of two lists."""
    if content is None:
        return
    for member in content if is_list(content) else [content]:
        if not is_object(member):
            raise DataError(
                f"{where} should have objects with 'prompt' and 'ground_truth', not {shown(member)}"
            )
        prompts, answers = member.get("prompt"), member.get("ground_truth")
        if not is_list(prompts):
            yield from pairs(prompts, answers, where)
            continue
        if not is_list(answers) or len(answers) != len(prompts):
            raise DataError(
                f"{where}: {len(prompts)} prompts, but 'ground_truth' has another number of answers"
            )
        for pair in zip(prompts, answers, strict=True):
            yield from pairs(*pair, where)


def rewrite(edit: Any, where: str) -> tuple[str, list[str], str, list[str]]:
    """Prompt, new answers, subject and true answers of a `requested_rewrite`."""
    fields = edit if is_object(edit) else {}
    new, true = fields.get("target_new"), fields.get("target_true")
    if not (is_object(new) and is_object(true)):
        raise DataError(
            f"{where} should have prompt, subject, target_new.str and target_true.str, not"
            f" {shown(edit)}"
        )
    subject, template = one(fields, "subject", where), one(fields, "prompt", where)
    prompt = template.replace("{}", subject)
    return prompt, texts(new.get("str"), where), subject, texts(true.get("str"), where)[:1]


def fact(
    prompt: str,
    new: list[str],
    subject: Any,
    true: Any,
    asks: Iterable[Ask],
    where: str,
    left_out: LeftOut,
) -> Iterator[Fact]:
    """The fact, if there is a new answer. Rephrasings get it, and those equal to the prompt go."""
    if not new:
        left_out[NO_ANSWER] += 1
        return
    answer, found = new[0], dict.fromkeys(asks)
    answered = [
        ask._replace(answers=(answer,)) if ask.kind == "rephrase" else ask
        for ask in found
        if ask.question != prompt
    ]
    named, truth = next(iter(texts(subject, where)), None), next(iter(texts(true, where)), None)
    yield Fact(prompt, answer, named, truth, tuple(answered), where)


def rephrasings(value: Any, where: str) -> Iterator[Ask]:
    """Rephrasings of the prompt: a text, or a list of texts."""
    return (Ask("rephrase", question) for question in texts(value, where))


def pairs(question: Any, answer: Any, where: str) -> list[tuple[str, tuple[str, ...]]]:
    """A question with its accepted answers; none where there is no question."""
    return [(one, tuple(texts(answer, where))) for one in texts(question, where)[:1]]


def one(row: Row, name: str, where: str) -> str:
    """A field that must hold a text."""
    found = texts(row.get(name), f"{where}: field {name!r}")
    if not found:
        raise DataError(f"{where}: the field {name!r} is missing or empty")
    return found[0]


def members(row: Row, name: str, where: str) -> list[Any] | tuple[Any, ...]:
    """The members of a field that must hold a list, if it is there."""
    found = row.get(name) or []
    if not is_list(found):
        raise DataError(f"{where}: field {name!r} should be a list, not {shown(found)}")
    return found


def texts(value: Any, where: str) -> list[str]:
    """The texts of a value that is one, a list of them, or a list of lists; empty ones are left
    out, as published files have them."""
    if value is None:
        return []
    if isinstance(value, str):
        return [checked(value.strip(), f"{where}: a text")] if value.strip() else []
    if is_list(value):
        return [text for member in value for text in texts(member, where)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [str(value)]  # a year that JSON or CSV gave as a number
    raise DataError(f"{where}: expected a text or a list of texts, not {shown(value)}")


def has(row: Row, *names: str) -> bool:
    """Whether a row has all of these fields."""
    return row.keys() >= set(names)


def in_lists(row: Row) -> bool:
    """Whether a row has groups of questions that are lists, as only KnowEdit has."""
    groups = [row.get(name) for name in ("portability", "locality")]
    members = [content for group in groups if is_object(group) for content in group.values()]
    return has(row, "prompt", "target_new", "locality") and all(map(is_list, members))


FORMS = {
    form.name: form
    for form in (
        Form("zsre", lambda row: has(row, "src", "alt") or has(row, "input", "alternatives"), zsre),
        Form("counterfact", lambda row: is_object(row.get("requested_rewrite")), counterfact),
        Form("mquake", lambda row: is_list(row.get("requested_rewrite")), mquake),
        Form("knowedit", in_lists, knowedit),
        Form("qaedit", lambda row: has(row, "prompt", "target", "rephrase"), qaedit),
        Form(
            "hallueditbench",
            lambda row: has(row, "question", "object", "paraphrased_question"),
            hallueditbench,
        ),
        Form("easyedit", lambda row: False, easyedit),  # shares its fields with others
    )
}
