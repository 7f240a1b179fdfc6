"""Tokens: splicing equals joint tokenisation on thousands of real strings; batches take the
narrowest widths that fit."""

import itertools
import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serac_jax.core.batch import Tokens, join, packed, room, splice
from serac_jax.models import load_tokenizer
from serac_jax.tasks.archive import SHIPPED
from serac_jax.text import tokens as text_tokens
from serac_jax.text.encoder import Encoder
from serac_jax.text.fingerprint import fingerprint
from serac_jax.text.queries import DataError, Query, TextBatch
from serac_jax.text.sizes import Size, Texts, choose, computed, divide, first
from serac_jax.text.tokens import pad, prefix_token_count, suffix_token_count
from tests.conftest import ASSETS, MODELS
from tools.world import world

TOKENIZERS = {
    "t5": ASSETS / "models" / "base",
    "t5 of 300 pieces": MODELS / "t5-tiny",
    "wordpiece cased": ASSETS / "models" / "scope",
    "wordpiece uncased": MODELS / "bert-tiny-uncased",
    "blenderbot bpe": MODELS / "blenderbot_small-tiny",
}


def real_strings() -> list[tuple[str, str, str]]:
    """(question, answer, another question) of the shipped data: thousands of names, years, hyphens
    and apostrophes."""
    lines = (
        (SHIPPED / "zsre" / "structured_zeroshot-train-new_annotated_final.jsonl")
        .read_text()
        .splitlines()
    )
    rows = [json.loads(line) for line in lines]
    return [
        (row["input"], row["alternatives"][0], other["filtered_rephrases"][0])
        for row, other in zip(rows, rows[1:] + rows[:1], strict=True)
    ]


def rows_of(tokenizer, texts):
    rows = tokenizer(texts)["input_ids"]
    return pad(rows, max(map(len, rows)))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_splicing_equals_joint_tokenisation(name):
    tokenizer = load_tokenizer(TOKENIZERS[name])
    strings = real_strings()
    assert len(strings) > 3000
    before, close = prefix_token_count(tokenizer), suffix_token_count(tokenizer)
    prefixes = []
    for question, answer, _ in strings:
        first, second = tokenizer(question)["input_ids"], tokenizer(answer)["input_ids"]
        prefixes.append(first[: len(first) - close] + second[before : len(second) - close])
    queries = rows_of(tokenizer, [query for _, _, query in strings])
    spliced = splice(pad(prefixes, max(map(len, prefixes))), queries, before)
    joint = tokenizer([" ".join(parts) for parts in strings])["input_ids"]
    for row, mask, expected in zip(
        np.asarray(spliced.ids), np.asarray(spliced.mask), joint, strict=True
    ):
        assert row[mask].tolist() == expected


@pytest.mark.parametrize("name", ["wordpiece cased", "wordpiece uncased"])
def test_splicing_equals_joint_tokenisation_of_cross_attention(name):
    tokenizer = load_tokenizer(TOKENIZERS[name])
    strings = real_strings()
    separator = tokenizer.sep_token
    contexts = [f"{question}{separator}{answer}{separator}" for question, answer, _ in strings]
    spliced = splice(
        rows_of(tokenizer, contexts),
        rows_of(tokenizer, [query for _, _, query in strings]),
        prefix_token_count(tokenizer),
    )
    joint = tokenizer(
        [
            f"{context}{separator}{query}"
            for context, (_, _, query) in zip(contexts, strings, strict=True)
        ]
    )["input_ids"]
    for row, mask, expected in zip(
        np.asarray(spliced.ids), np.asarray(spliced.mask), joint, strict=True
    ):
        assert row[mask].tolist() == expected


def test_affixes_of_every_kind_of_tokenizer():
    affixes = {
        name: (prefix_token_count(tokenizer), suffix_token_count(tokenizer))
        for name, folder in TOKENIZERS.items()
        for tokenizer in [load_tokenizer(folder)]
    }
    assert affixes == {
        "t5": (0, 1),
        "t5 of 300 pieces": (0, 1),
        "wordpiece cased": (1, 1),
        "wordpiece uncased": (1, 1),
        "blenderbot bpe": (0, 0),
    }


@pytest.fixture(scope="module")
def encoder():
    base, scope = (load_tokenizer(ASSETS / "models" / name) for name in ("base", "scope"))
    return Encoder(base, scope, (16, 24, 32), (4, 8))


def batch_of(*questions, answer="Rome"):
    queries = [
        Query(question, answer, source="rows.jsonl:7") if question else None
        for question in questions
    ]
    return TextBatch(queries, queries, range(len(queries)), queries, range(len(queries)))


def test_a_batch_takes_the_narrowest_widths_that_fit(encoder):
    short, long = (
        encoder(batch_of("Who wrote Hamlet?")),
        encoder(
            batch_of(
                "Who wrote Hamlet?",
                "Which of the cities on the river Danube is the capital city of Hungary today?",
            )
        ),
    )
    assert short.inside.inputs.ids.shape == (1, 16)
    assert long.inside.inputs.ids.shape[1] > 16
    assert short.edits.prefix.ids.shape == (1, 16 + 4)
    assert short.inside.labels.shape == (1, 4)


SMALL = Size(16, 28, 24, 16, 24, label_fill=1 / 3)


@pytest.mark.parametrize(
    ("answers", "fill"),
    [
        (["Rome"], 1 / 3),
        (["Rome " * 4], 0.6),
        (["Rome"] * 3 + ["Rome " * 4], 1 / 3),
        (["Rome " * 6], None),
    ],
)
def test_a_batch_takes_the_first_size_that_has_room_for_its_answers_together(
    encoder, answers, fill
):
    queries = [Query("Who?", answer) for answer in answers]
    sizes = SMALL, SMALL._replace(label_fill=0.6)
    batch = TextBatch(queries, queries, range(len(queries)), queries, range(len(queries)))
    found = jax.device_put(replace(encoder, answer_widths=(24,)).with_sizes(sizes)(batch))
    labelled = (found.inside.weight > 0).sum()
    assert found.layout.label_fill == fill
    assert fill is None or labelled <= len(found.at) == room(found.inside.weight.size, fill)
    assert (found.answers[0].weight > 0).sum() == labelled


real_tokens = jax.jit(packed, static_argnums=1)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(1, 12), st.integers(1, 12)),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
def test_whatever_a_network_computes_has_room_for_all_tokens(encoder, rows, pairs):
    """A token for which there is none would be left out unseen."""
    found = replace(
        encoder,
        answer_widths=(16,),
        pairs=pairs,
        sizes=(
            Size(16, 24, 8, 16, 8, 24, 0.4, 0.4, 0.4),
            Size(24, 40, 16, 24, 16, 40, 0.6, 0.7, 0.7),
            Size(32, 48, 16, 32, 16, 80, 0.9, 0.9, 0.9),
        ),
    )
    edits, inside, outside = (
        [Query("a " * row[part], "a " * row[1]) for row in rows] for part in (0, 2, 3)
    )
    batch = found(TextBatch(edits, inside, range(len(rows)), outside, range(len(rows))))
    layout, read = (
        batch.layout,
        [
            batch.edits.inputs,
            batch.edits.scope,
            batch.asked.inputs,
            batch.outside.inputs,
            join(batch.asked.scope, batch.outside.scope),
        ],
    )
    both = [splice(batch.edits.prefix, batch.inside.inputs, 0, layout.context)]
    both += [
        splice(batch.edits.scope, queries.scope, 1, layout.context)
        for queries in (batch.inside, batch.outside)
        if pairs
    ]
    together = (
        Tokens(
            *(
                np.concatenate(leaves)
                for leaves in zip(*(tokens[:2] for tokens in both[1:]), strict=True)
            )
        )
        if pairs
        else both[0]
    )
    for tokens, fill in [(tokens, layout.text_fill) for tokens in read] + [
        (tokens, layout.context_fill) for tokens in (both[0], together)
    ]:
        real = real_tokens(tokens, fill).real
        assert real is None or (real < tokens.mask.size).sum() == tokens.mask.sum()
    assert (
        batch.at is None
        or (batch.at < batch.inside.weight.size).sum() == (batch.inside.weight > 0).sum()
    )


def test_context_and_labels_are_what_they_say(encoder):
    batch = encoder(batch_of("Who wrote Hamlet?"))
    base, scope = encoder.base, encoder.scope
    assert (
        base.decode(batch.edits.prefix.ids[0][batch.edits.prefix.mask[0]])
        == "Who wrote Hamlet? Rome"
    )
    assert (
        scope.decode(batch.edits.scope.ids[0][batch.edits.scope.mask[0]])
        == "[CLS] Who wrote Hamlet? [SEP] Rome [SEP] [SEP]"
    )
    assert base.decode(batch.edits.labels[0][batch.edits.weight[0] > 0]) == "Rome</s>"
    assert batch.inside.prefix.ids.shape == (1, 0)


def test_padding_rows_weigh_nothing(encoder):
    batch = encoder(batch_of("Who wrote Hamlet?", None))
    assert batch.edits.rows.tolist() == [1, 0]
    assert batch.outside.weight[1].sum() == 0


def test_equal_wording_has_equal_fingerprints(encoder):
    batch = encoder(batch_of("Who wrote Hamlet?", " who  wrote HAMLET", "Who wrote Macbeth?", None))
    first, same, other, padding = batch.edits.words.tolist()
    assert first == same != other
    assert padding == [0, 0] != first
    assert batch.edits.words.dtype == np.int32
    assert (batch.inside.words == batch.edits.words).all()
    assert fingerprint("Who wrote Hamlet?") == (-692603091, -838190001)


def test_a_long_question_is_cut_and_keeps_its_end(encoder):
    batch = encoder(batch_of("Who was it " * 40 + "?"))
    assert batch.inside.inputs.mask.sum() == 32
    assert batch.inside.inputs.ids[0, -1] == encoder.base.eos_token_id
    assert batch.inside.scope.ids[0, -1] == encoder.scope.sep_token_id


def test_a_long_label_is_an_error_that_names_its_row(encoder):
    with pytest.raises(
        DataError,
        match=(
            r"rows.jsonl:7: the answer 'Rome Rome.* tokens, more than the limit of 8; raise"
            r" data.answer_tokens"
        ),
    ):
        encoder(batch_of("Who?", answer="Rome " * 20))


def test_world_strings_are_hard_enough():
    """The law above is only worth something on strings with punctuation inside words."""
    answers = " ".join(fact.answer + fact.subject for fact in world.facts())
    assert all(sign in answers for sign in "-'.")


def test_a_text_is_tokenised_once(monkeypatch):
    real, read = load_tokenizer(TOKENIZERS["wordpiece cased"]), []

    def counted(texts, add_special_tokens):
        read.extend(texts)
        return real.codec.encode(texts, add_special_tokens)

    counting = replace(real, codec=real.codec._replace(encode=counted))
    asked = ["a river", "a city", "a river", "a king"]
    expected = real(asked)["input_ids"]
    for _ in range(3):
        assert text_tokens.ids(counting, asked) == expected
    assert read == ["a river", "a city", "a king"]
    monkeypatch.setattr(text_tokens, "REMEMBERED", 4)  # then texts are forgotten, and read again
    assert (
        text_tokens.ids(counting, ["a queen", "a river", "a hill"])
        == real(["a queen", "a river", "a hill"])["input_ids"]
    )
    assert len(text_tokens.remembered(counting)) <= 4
    assert text_tokens.ids(counting, asked) == expected


LIMITS = Size(edit=32, stated=48, edit_label=16, query=32, label=16)


@st.composite
def samples(draw):
    """Batches by the lengths of their texts, as an encoder measures them."""
    lengths = st.lists(st.integers(1, 16), min_size=4, max_size=4)
    return [
        [
            Texts(name, 4, max(row), sum(row))
            for name in ("edit", "prefix", "query", "context", "edit_label", "answer", "label")
            for row in [draw(lengths)]
        ]
        for _ in range(draw(st.integers(1, 12)))
    ]


@settings(deadline=None, max_examples=40)
@given(samples(), st.integers(1, 5))
def test_sizes_hold_the_batches_that_they_were_measured_on(batches, count):
    found = choose(batches, count, LIMITS)
    assert 1 <= len(found) <= count
    assert found == choose(batches, count, LIMITS)
    for read in batches:
        size = first(found, read, LIMITS)
        assert size in found
        assert computed(size, read) <= computed(LIMITS, read)


@pytest.mark.slow
def test_more_sizes_compute_less_padding():
    rng = np.random.default_rng(0)
    names = ("edit", "prefix", "query", "context", "edit_label", "answer", "label")
    batches = [
        [
            Texts(name, 10, int(row.max()), int(row.sum()))
            for name in names
            for row in [rng.integers(1, rng.integers(2, 17), 10)]
        ]
        for _ in range(200)
    ]
    costs = [
        sum(computed(first(choose(batches, count, LIMITS), read, LIMITS), read) for read in batches)
        for count in (1, 2, 4, 8)
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.9 * costs[0]


def test_a_division_into_groups_is_the_best_of_all():
    rng = np.random.default_rng(0)
    group = np.triu(rng.integers(1, 50, (7, 7))).astype(float)
    group[np.tril_indices(7, -1)] = np.inf
    for count in range(1, 5):

        def cost(ends):
            return sum(
                group[start, end - 1] for start, end in zip([0, *ends[:-1]], ends, strict=True)
            )

        divisions = [
            [*inner, 7]
            for parts in range(count)
            for inner in itertools.combinations(range(1, 7), parts)
        ]
        assert cost(divide(group, count)) == min(map(cost, divisions))
