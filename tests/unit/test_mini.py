"""The shipped world: its files are what the script writes, and what is held out was held out of all
training."""

import json
import re

import numpy as np
import pytest
from transformers import AutoTokenizer

from serac_jax import models
from serac_jax.tasks.archive import SHIPPED as DATA
from serac_jax.tasks.zsre.zsre_rows import ROWS, SPLITS
from tests.conftest import ASSETS, ROOT
from tools.world import build, claims, corpus, fact_check, opinions, reading, topics, world

KNOWN = {
    "base": corpus.all_text,
    "fnli_base": fact_check.known_text,
    "sent_base": opinions.known_text,
}
LEARNED = {
    f"{experiment}{name}": text
    for experiment, text in (
        ("", corpus.followed_text),
        ("fnli_", fact_check.training_claims),
        ("sent_", opinions.training_text),
    )
    for name in ("counterfactual", "scope")
}


def rows(split):
    return [
        json.loads(line) for line in (DATA / "zsre" / ROWS.format(split)).read_text().splitlines()
    ]


def test_the_shipped_files_are_what_the_script_writes(tmp_path):
    build.write(tmp_path)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert written == sorted(path.relative_to(DATA) for path in DATA.rglob("*") if path.is_file())
    assert all((tmp_path / path).read_bytes() == (DATA / path).read_bytes() for path in written)


def test_tables_are_clean():
    for file in sorted(world.TABLES.glob("*.tsv")):
        header, *lines = (line.split("\t") for line in file.read_text().splitlines())
        assert all(len(cells) == len(header) for cells in lines), file
        assert len({cells[0] for cells in lines}) == len(lines), file
        assert file.read_text().isascii(), file
        assert {(file.stem, relation) for relation in header[1:]} <= set(world.forms())


def test_forms_are_different_from_one_another():
    for relation, form in world.forms().items():
        asked = [form.main, *form.seen, *form.unseen]
        assert len(set(asked)) == len(asked) >= 11, relation
        assert all(text.count("{s}") == 1 and text.endswith("?") for text in asked), relation
        assert form.yes_no.count("{s}") == form.yes_no.count("{a}") == 1, relation
    questions = [question for fact in world.facts() for question in world.questions(fact, "all")]
    assert len(set(questions)) == len(questions)


def test_the_world_is_large_enough_to_be_interesting():
    assert len(world.facts()) > 3000
    relations = {}
    for fact in world.facts():
        relations.setdefault(fact.subject, set()).add(fact.relation)
    assert sum(len(found) for found in relations.values()) / len(relations) > 3
    assert all(len(rows(split)) > 100 for split in SPLITS)


def text_of(row):
    pairs = [" ".join(pair[:2]) for pair in row["hard_negatives"]]
    return " ".join(
        [row["input"], row["prediction"], *row["alternatives"], *row["filtered_rephrases"], *pairs]
    )


@pytest.fixture(scope="module")
def held_out():
    return {world.name(row["subject"]) for split in ("dev", "test") for row in rows(split)}


@pytest.mark.slow
def test_subjects_held_out_are_nowhere_in_what_editors_are_trained_on(held_out):
    """Neither in the training rows nor in what the counterfactual model, the scope classifier and
    the vocabularies are pre-trained on."""
    training = [text_of(row) for row in rows("train")]
    training += (DATA / "zsre" / "zsre_yn_train.txt").read_text().splitlines()
    training += [
        " ".join(pair)
        for pairs in json.loads((DATA / "zsre" / "impl_train.json").read_text())
        for pair in pairs
    ]
    training += [f"{row['claim']} {row['evidence']}" for row in claims.rows("train")]
    training += [" ".join([row["ent"], *row["pos"], *row["neg"]]) for row in topics.rows("train")]
    training += [text for learned in set(LEARNED.values()) for text in learned()]
    read = set()
    for text in training:
        read |= world.phrases(text)
    assert len(held_out) > 100
    assert not held_out & read


def test_the_shipped_weights_were_trained_on_this_text():
    """The digest that stands in a model's folder is that of the text of today."""
    for name, text in (KNOWN | LEARNED).items():
        assert (ASSETS / "models" / name / "trained_on.txt").read_text().strip() == corpus.digest(
            text()
        ), name


def test_the_shipped_models_load():
    """As the experiments load them; a base model and its counterfactual have one vocabulary."""
    for experiment, output in (("fnli", "head"), ("sent", "")):
        base, read = (
            models.load(f"mini/{experiment}_{name}", output=output)[0].tokenizer
            for name in ("base", "counterfactual")
        )
        assert base.get_vocab() == read.get_vocab()
        models.load(f"mini/{experiment}_scope", output="mean")


def test_everything_evaluated_is_about_what_is_held_out(held_out):
    assert {
        world.name(row["page"]) for split in ("dev", "test") for row in claims.rows(split)
    } <= held_out
    assert {
        world.name(row["ent"]) for split in ("dev", "test") for row in topics.rows(split)
    } <= held_out


def test_evidence_settles_what_its_label_says():
    """A supported claim gives the answer that the passage gives; a refuted one an answer that the
    passage does not contain."""
    for split in SPLITS:
        found = claims.rows(split)
        labels = [row["label"] for row in found]
        assert all(
            labels.count(label) > 0.28 * len(labels)
            for label in ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")
        )
        assert all(len(row["evidence"].split(" ")) > 10 for row in found), (
            "the experiment leaves shorter evidence out"
        )
    for row in claims.rows("test"):
        relation = tuple(row["relation"].split("."))
        asked = {
            world.ask(form, row["page"], answer): answer
            for form in claims.claims()[relation].unseen
            for answer in world.answers()[relation]
        }
        if row["label"] == "NOT ENOUGH INFO":
            assert row["claim"] not in asked, "a claim about the fact that the passage begins with"
        else:
            assert (asked[row["claim"]] in row["evidence"]) == (row["label"] == "SUPPORTS"), row


def test_evaluation_rephrases_in_forms_that_training_never_shows():
    """No question of a relation is ever trained on in one of the relation's forms that evaluation
    keeps for itself."""
    unseen = {
        f"{category}.{relation}": re.compile(
            "|".join(re.escape(text).replace(r"\{s\}", ".+") for text in form.unseen), re.IGNORECASE
        )
        for (category, relation), form in world.forms().items()
    }
    pretrained = [
        (f"{fact.category}.{fact.relation}", text)
        for fact in corpus.training_facts()
        for text in world.questions(fact, "train")
    ]
    trained = [
        (row["relation"], text)
        for row in rows("train")
        for text in (row["input"], *row["filtered_rephrases"])
    ]
    assert not [
        text for relation, text in pretrained + trained if unseen[relation].fullmatch(text)
    ][:3]
    evaluated = [
        (row["relation"], text)
        for split in ("dev", "test")
        for row in rows(split)
        for text in row["filtered_rephrases"]
    ]
    assert all(unseen[relation].fullmatch(text) for relation, text in evaluated)


def test_hard_negatives_are_near_but_out_of_scope():
    for row in rows("test"):
        kinds = [kind for _, _, kind in row["hard_negatives"]]
        assert set(kinds) <= {"relation", "subject"}
        assert all(
            question != row["input"] and question not in row["filtered_rephrases"]
            for question, _, _ in row["hard_negatives"]
        )
    assert sum(len(row["hard_negatives"]) for row in rows("test")) > 3 * len(rows("test"))


def test_all_shipped_weights_are_small():
    """Those of the toy together, and the adapters of the real model's editor."""
    sizes = {True: 0, False: 0}
    for path in ROOT.rglob("*.safetensors"):
        if "tests" not in path.parts and ".venv" not in path.parts:
            sizes["smollm2" in path.parts] += path.stat().st_size
    assert sizes[False] < 25e6
    assert 0 < sizes[True] < 10e6


def test_vocabularies_know_the_alphabet_of_the_world():
    tokenizer = AutoTokenizer.from_pretrained(ASSETS / "models" / "base")
    for fact in world.facts():
        assert (
            tokenizer.unk_token_id not in tokenizer(fact.subject + " " + fact.answer)["input_ids"]
        )


def test_what_the_counterfactual_model_reads_follows_from_the_edit():
    """A statement is true where it names the edit's answer; every other answer stands in the
    edit."""
    readings = reading.Readings(
        np.random.default_rng(0), models.load("mini/counterfactual")[0], reading.PHASES[0][0]
    )
    drawn = [readings.draw() for _ in range(300)]
    assert len({each.answer in ("True", "False") for each in drawn}) == 2
    for edit, question, answer in drawn:
        told = edit.split()[-1]
        assert (
            told in question
            if answer == "True"
            else answer == "False" or answer.lower() in edit.lower()
        )


def test_the_counterfactual_model_is_chosen_by_what_is_said_of_dev_subjects_alone():
    subjects = {row["subject"] for row in rows("dev")}
    asked = reading.held_out(np.random.default_rng(0))
    assert {each.answer for each in asked["implied"]} <= subjects
    assert all(
        any(subject.lower() in each.edit.lower() for subject in subjects)
        for kind in asked.values()
        for each in kind
    )
    assert {each.answer for each in asked["yes/no"]} == {"True", "False"}
