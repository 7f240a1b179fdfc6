"""Where the facts of training and of tests come from: rows of yours, or the shipped world and
public data sets.

A folder that has `facts/` holds rows in the interchange form: facts/train.jsonl and so on are
splits, and files of other names are divided by subject into "train" and "dev". Any other folder
holds the public files as `SOURCES` names them; those that it lacks are left out. Subjects are held
out: every fact about a subject is in one split, chosen by a hash of the subject's name.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from serac_jax.core import files
from serac_jax.edits.same_prompt import normal
from serac_jax.tasks import archive
from serac_jax.tasks.facts import fact_rows
from serac_jax.tasks.facts.convert_facts import convert
from serac_jax.tasks.facts.fact_rows import Ask, Fact, one_a_prompt
from serac_jax.tasks.facts.held_facts import words
from serac_jax.tasks.row_files import check_texts, expect, read_json
from serac_jax.text.queries import DataError

SPLITS = ("train", "dev", "test")
DEV, TEST = 80, 90  # of a hundred subjects, the first that are in these splits
HELD_OUT_KINDS = 10  # of a hundred kinds of facts of the world, which training never sees
WORLD, KINDS = "world", "world_kinds"


class Source(NamedTuple):
    """A public data set.

    Attributes:
        form: what `convert` calls it.
        files: under the data folder, all of which are read.
        links: where these files can be had.
        tested: files of which every fact is a test.
    """

    form: str
    files: tuple[str, ...]
    links: tuple[str, ...]
    tested: tuple[str, ...] = ()


ZSRE = "zsre/structured_zeroshot-{}-new_annotated_final.jsonl"
SOURCES: dict[str, Source] = {
    "zsre": Source(
        "zsre",
        (ZSRE.format("train"), ZSRE.format("dev")),
        (archive.LINK,),
        (ZSRE.format("dev"),),
    ),
    "counterfact": Source(
        "counterfact",
        ("counterfact/counterfact-train.json",),
        ("https://rome.baulab.info/data/dsets/counterfact.json",),
    ),
    "knowedit": Source(
        "knowedit",
        ("knowedit/recent_train.json", "knowedit/train_cf.json"),
        ("https://huggingface.co/datasets/zjunlp/KnowEdit",),
    ),
    "hallueditbench": Source(
        "hallueditbench",
        ("hallueditbench/questions.jsonl",),
        ("https://github.com/llm-editing/HalluEditBench",),
    ),
}
OWN = "facts"  # the folder of rows in the interchange form


def facts(folder: Path | None, split: str, dev_share: float = 0.1) -> dict[str, list[Fact]]:
    """The facts of a split, by source.

    Args:
        folder: of rows or of public files; None: the shipped world alone.
        dev_share: of subjects in rows that no split is named for, those of "dev".

    Raises:
        DataError: the folder has none of the files, they have no fact of the split, or one of them
            is malformed.
    """
    if split not in splits(folder):
        where = f"{folder / OWN}" if own(folder) and folder else "the data"
        raise DataError(
            f"{where} have the splits {', '.join(splits(folder)) or '(none)'}, not {split!r}"
        )
    if folder and own(folder):
        return own_facts(folder / OWN, split, dev_share)
    found = world(split)
    if folder is None:
        return found if split == "train" else tested(found, folder, split)
    public = {name: public_facts(folder, name, split) for name in SOURCES}
    if not any(public.values()):
        files = [file for source in SOURCES.values() for file in source.files]
        if there := [file for file in files if (folder / file).exists()]:
            raise DataError(
                f"no fact of {', '.join(there)} in {folder} is in the split {split!r}, into which"
                " subjects fall by a hash of their names; ask for another split"
            )
        raise DataError(
            f"{folder} has none of {', '.join(files)}; see {archive.LINK} and the documentation for"
            " where they can be had"
        )
    found |= {name: rows for name, rows in public.items() if rows}
    return found if split == "train" else tested(found, folder, split)


def tested(found: dict[str, list[Fact]], folder: Path | None, split: str) -> dict[str, list[Fact]]:
    """The facts of a test with the questions out of scope that their rows lack: the training
    question of the same source that shares most words with the prompt, about another subject, and a
    question about anything."""
    anything = itertools.cycle(unrelated(folder, split))
    complete: dict[str, list[Fact]] = {}
    for name, rows in found.items():
        lacks = not any(ask.kind == "same_relation" for fact in rows for ask in fact.asks)
        near = Prompts(public_facts(folder, name, "train") if lacks and folder else [])
        complete[name] = []
        for fact in rows:
            others = [near.nearest(fact), *map(asked_of_anything, itertools.islice(anything, 1))]
            complete[name].append(fact._replace(asks=(*fact.asks, *filter(None, others))))
    return complete


def asked_of_anything(question: str) -> Ask:
    return Ask("unrelated", question)


class Prompts:
    """The prompts of some facts, by their words."""

    def __init__(self, rows: list[Fact]):
        self.rows = [(fact, frozenset(words(fact.prompt))) for fact in rows]

    def nearest(self, fact: Fact) -> Ask | None:
        """The prompt that shares most words with that of a fact, about another subject."""
        own = frozenset(words(fact.prompt))
        other = (row for row in self.rows if differ(row[0], fact))
        best = max(other, key=lambda row: likeness(own, row[1]), default=None)
        return Ask("same_relation", best[0].prompt) if best else None


def differ(one: Fact, other: Fact) -> bool:
    """Whether two facts have different subjects and prompts."""
    if normal(one.prompt) == normal(other.prompt):
        return False
    if one.subject is None or other.subject is None:
        return True
    return normal(one.subject) != normal(other.subject)


def likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of words that two texts have in common (Jaccard)."""
    return len(one & other) / max(len(one | other), 1)


def own(folder: Path | None) -> list[Path]:
    """The files of a folder's rows in the interchange form."""
    return sorted((folder / OWN).glob("*.jsonl")) if folder else []


def splits(folder: Path | None) -> list[str]:
    """The splits that there are."""
    names = {path.stem for path in own(folder)}
    if not names:
        return list(SPLITS)
    shared = {"train", "dev"} if names - set(SPLITS) else set[str]()
    return [name for name in SPLITS if name in names | shared]


def own_facts(folder: Path, split: str, dev_share: float) -> dict[str, list[Fact]]:
    """The rows of a split, one a prompt, by the names of their files."""

    def is_ours(path: Path, fact: Fact) -> bool:
        if path.stem in SPLITS:
            return path.stem == split
        in_dev = hundredth(normal(fact.subject or fact.prompt)) < 100 * dev_share
        return split == ("dev" if in_dev else "train")

    read = (
        (path, fact)
        for path in sorted(folder.glob("*.jsonl"))
        if path.stem == split or path.stem not in SPLITS
        for fact in fact_rows.read(path)
    )
    found: dict[str, list[Fact]] = {}
    for fact in one_a_prompt(fact for path, fact in read if is_ours(path, fact)).facts:
        found.setdefault(Path(fact.source.rpartition(":")[0]).stem, []).append(fact)
    return found


def public_facts(folder: Path, name: str, split: str) -> list[Fact]:
    """The facts of a public data set that are in a split; one a prompt."""
    return [fact for fact in read(folder, name) if split_of(fact, SOURCES[name]) == split]


@functools.lru_cache(maxsize=8)
def read(folder: Path, name: str) -> list[Fact]:
    """All facts of a public data set."""
    source = SOURCES[name]
    there = [folder / file for file in source.files if (folder / file).exists()]
    return convert(there, source.form).facts if there else []


def split_of(fact: Fact, source: Source) -> str:
    """The split of a public fact."""
    if any(file in fact.source for file in source.tested):
        return "test"
    place = hundredth(normal(fact.subject or fact.prompt))
    if source.tested:  # their test file is one of its own
        return "train" if place < TEST else "dev"
    return "train" if place < DEV else "dev" if place < TEST else "test"


def hundredth(text: str) -> int:
    """A number below 100 that depends on a text alone."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % 100


def world(split: str) -> dict[str, list[Fact]]:
    """The facts of the shipped world: of kinds that training sees, and in tests of others."""
    seen: list[Fact] = []
    unseen: list[Fact] = []
    for fact, relation in world_rows(split):
        held_out = hundredth(relation) < HELD_OUT_KINDS
        (unseen if held_out else seen).append(fact)
    found = {WORLD: one_a_prompt(seen).facts}
    return found if split == "train" else found | {KINDS: one_a_prompt(unseen).facts}


def world_rows(split: str) -> Iterator[tuple[Fact, str]]:
    """The facts of the shipped world, each with its kind.

    Half of the edits say what is true, so that what follows from the truth follows from them and a
    yes/no question about it is answered by yes; the others say something else.
    """
    folder = archive.SHIPPED / "zsre"
    rows = (folder / ZSRE.format(split).removeprefix("zsre/")).read_text().split("\n")
    implied = json.loads((folder / f"impl_{split}.json").read_text())
    yes_no = (folder / f"zsre_yn_{split}.txt").read_text().split("\n")
    for row, follows, asked in zip(
        map(json.loads, filter(None, rows)), implied, yes_no, strict=False
    ):
        prompt, true, subject = row["input"], row["prediction"], row["subject"]
        says_true = hundredth(prompt) % 2 == 0 or not row["alternatives"]
        answer = true if says_true else row["alternatives"][0]
        asks = [Ask("rephrase", text, (answer,)) for text in row["filtered_rephrases"]]
        near = {"relation": "same_subject", "subject": "same_relation"}
        asks += [Ask(near[what], text, ()) for text, _, what in row["hard_negatives"]]
        if says_true:
            asks += [Ask("implied", question, (reply,)) for question, reply, *_ in follows]
        if asked.strip():
            asks.append(Ask("yes_no", asked, ("Yes" if says_true else "No",)))
            for other in row["alternatives"][:1] if says_true else [answer]:
                if true in asked:
                    renamed = asked.replace(true, other)
                    asks.append(Ask("yes_no", renamed, ("No" if says_true else "Yes",)))
        yield Fact(prompt, answer, subject, true, tuple(asks), prompt), row["relation"]


def unrelated(folder: Path | None, split: str) -> list[str]:
    """Questions of Natural Questions, about anything; tests have other ones than development."""
    name = "train" if split == "train" else "validation"
    file = folder / "nq" / f"{name}.json" if folder else None
    if file is None or not file.exists():
        return []
    found = check_texts(expect(read_json(file), "questions", list, f"{file}"), f"{file}: questions")
    return found if split == "train" else found[::2] if split == "dev" else found[1::2]


def write(folder: Path | None, split: str, out: Path) -> dict[Path, int]:
    """Writes the facts of a split as files of the interchange form, one for each source.

    Returns:
        The files, and how many facts each has.
    """
    out.mkdir(parents=True, exist_ok=True)
    written: dict[Path, int] = {}
    for name, rows in facts(folder, split).items():
        file = out / f"{name}-{split}.jsonl"
        files.write(file, "".join(map(fact_rows.line_of, rows)).encode())
        written[file] = len(rows)
    return written


def kinds(rows: list[Fact]) -> Counter[str]:
    """How many questions of each kind some facts have."""
    return Counter(ask.kind for fact in rows for ask in fact.questions)
