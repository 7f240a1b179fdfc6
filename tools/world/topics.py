"""The sentiment experiment in the format of ConvSent (Mitchell et al. 2022): topics, each with
positive and negative opinions."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tools.world.world import facts, fraction, shuffled, splits

TOML = Path(__file__).parent / "sentences" / "opinions.toml"
EVERYTHING = "everything"  # what holds of topics of every kind
SUBJECTS = 10  # of a category's training subjects that are topics
OWN, COMMON = (
    2,
    3,
)  # opinions of a sentiment, in words of the topic's kind and in words for everything


class Topic(NamedTuple):
    """answers: of its facts, by relation; none where it is no subject of the world."""

    name: str
    kind: str
    split: str
    answers: dict[str, str]


@cache
def opinions() -> dict[str, dict[str, list[str]]]:
    """The forms of opinions by kind of topic and sentiment; for kinds that are no tables also their
    topics."""
    return tomllib.loads(TOML.read_text())


@cache
def topics() -> tuple[Topic, ...]:
    """Every topic: all subjects that are held out, some training subjects, and topics of daily
    life, which are for training."""
    answers: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for fact in facts():
        answers[fact.category, fact.subject][fact.relation] = fact.answer
    found, trained = [], defaultdict(int)
    for kind, name in shuffled(answers, "topics"):
        split = splits()[name]
        trained[kind] += split == "train"
        if kind in opinions() and (split != "train" or trained[kind] <= SUBJECTS):
            found.append(Topic(name, kind, split, answers[kind, name]))
    return tuple(
        found
        + [
            Topic(name, kind, "train", {})
            for kind, forms in opinions().items()
            for name in forms.get("topics", ())
        ]
    )


def forms(kind: str, sentiment: str) -> list[str]:
    """Opinions of a sentiment, with {s} for the topic."""
    return opinions()[kind][sentiment] + opinions()[EVERYTHING][sentiment]


def chosen(topic: Topic, sentiment: str) -> list[str]:
    """A topic's opinions."""
    own, common = (
        shuffled(opinions()[kind][sentiment], sentiment, topic.name)
        for kind in (topic.kind, EVERYTHING)
    )
    return [form.replace("{s}", topic.name) for form in own[:OWN] + common[:COMMON]]


def mild(topic: Topic) -> list[str]:
    """What the base model thinks: no strong opinion, or a fact."""
    known = forms(topic.kind, "neutral")
    for relation, answer in topic.answers.items():
        known = [form.replace("{" + relation + "}", answer) for form in known]
    return [text for form in known if "{" not in (text := form.replace("{s}", topic.name))]


def rows(split: str) -> list[dict]:
    """The rows of a split, mixed."""
    mixed = sorted(
        (topic for topic in topics() if topic.split == split),
        key=lambda topic: fraction("sentiment", topic.name),
    )
    return [
        {"ent": topic.name, "pos": chosen(topic, "positive"), "neg": chosen(topic, "negative")}
        for topic in mixed
    ]
