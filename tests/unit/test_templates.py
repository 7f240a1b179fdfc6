"""Templates: what they put together is what tokenising the whole text gives."""

import json

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from serac_jax.core.batch import splice
from serac_jax.core.errors import UserError
from serac_jax.tasks.archive import SHIPPED
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import Query, TextBatch
from serac_jax.text.templates import (
    EXAMPLES,
    TEMPLATES,
    chat,
    completion,
    plain,
    question_answer,
    separated,
)
from serac_jax.text.tokens import pad
from tests.conftest import ASSETS, MODELS

# As SmolLM2's: a system turn is added where there is none.
CHAT = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def strings():
    """(question, answer, another question) of the shipped rows."""
    file = SHIPPED / "zsre" / "structured_zeroshot-train-new_annotated_final.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [
        (row["input"], row["alternatives"][0], other["filtered_rephrases"][0])
        for row, other in zip(rows, rows[1:] + rows[:1], strict=True)
    ]


@pytest.fixture(scope="module")
def causal():
    """A byte-level BPE tokenizer as SmolLM2's: it opens and ends no text by itself, and its padding
    is its end of text."""
    backend = Tokenizer(models.BPE(unk_token="<|endoftext|>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(
        [f"Question: {question}\nAnswer: {answer}\n\n" for question, answer, _ in strings()],
        trainer,
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        chat_template=CHAT,
    )


def render(tokenizer):
    return lambda messages: tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )


def shown(turns):
    return "".join(f"Question: {asked}\nAnswer: {answer}\n" for asked, answer in turns)


FORMS = {
    "question and answer": (
        question_answer,
        lambda turns, question: shown([*EXAMPLES, *turns]) + f"Question: {question}\nAnswer:",
    ),
    "without examples": (
        lambda tokenizer: question_answer(tokenizer, ()),
        lambda turns, question: shown(turns) + f"Question: {question}\nAnswer:",
    ),
    "completion": (
        completion,
        lambda turns, question: (
            "".join(f"{asked} {answer}\n" for asked, answer in turns) + question
        ),
    ),
    "chat": (
        lambda tokenizer: chat(tokenizer, render(tokenizer)),
        lambda turns, question: (
            "<|im_start|>system\nYou help.<|im_end|>\n"
            + "".join(
                f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"
                for asked, answer in turns
            )
            + f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        ),
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_an_edit_before_a_question_equals_joint_tokenisation(causal, name):
    make, written = FORMS[name]
    form, rows = make(causal), strings()[::7]
    assert len(rows) > 400
    questions = form.questions([question for _, _, question in rows], 500)
    contexts = [
        form.context(question, answer)
        for question, answer in zip(
            form.questions([question for question, _, _ in rows], 500),
            form.answers([answer for _, answer, _ in rows]),
            strict=True,
        )
    ]
    both = splice(
        pad(contexts, max(map(len, contexts))), pad(questions, max(map(len, questions))), form.lead
    )
    joint = causal([written([(asked, answer)], question) for asked, answer, question in rows])
    for ids, mask, expected in zip(
        np.asarray(both.ids), np.asarray(both.mask), joint["input_ids"], strict=True
    ):
        assert ids[mask].tolist() == expected
    alone = causal([written([], question) for _, _, question in rows])["input_ids"]
    assert questions == alone


@pytest.mark.parametrize("name", FORMS)
def test_a_conversation_of_several_turns_equals_joint_tokenisation(causal, name):
    make, written = FORMS[name]
    rows = strings()[:6]
    turns = [(question, answer) for question, answer, _ in rows]
    for count in range(4):
        row = make(causal).conversation(turns[:count], rows[5][2], 500)
        assert row == causal(written(turns[:count], rows[5][2]))["input_ids"]


def test_the_chat_form_equals_the_chat_template(causal):
    asked, answer, question = strings()[0]
    messages = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": question},
    ]
    expected = causal.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    form = chat(causal, render(causal))
    assert form.conversation([(asked, answer)], question, 500) == expected


def test_a_chat_template_that_drops_turns_is_refused(causal):
    with pytest.raises(UserError, match="does not show every turn"):
        chat(causal, lambda messages: messages[-1]["content"])


@pytest.mark.parametrize("name", ["question_answer", "completion"])
def test_an_answer_begins_with_a_blank_and_ends_once(causal, name):
    (row,) = TEMPLATES[name](causal).answers(["Rome"])
    assert row == [*causal(" Rome")["input_ids"], causal.eos_token_id]
    assert row[:-1] != causal("Rome")["input_ids"]


def test_the_end_of_an_answer_counts_though_it_is_also_padding(causal):
    queries = [Query("Where is the Colosseum?", "Rome"), Query("Who?", "Mary Wollstonecraft")]
    batch = Encoder(causal, None, (64,), (24,), template="question_answer")(
        TextBatch(queries, queries, [0, 1], queries, [0, 1])
    )
    lengths = batch.inside.weight.sum(-1).astype(int)
    for row, length, query in zip(batch.inside.labels, lengths, queries, strict=True):
        assert row[length - 1] == causal.eos_token_id == causal.pad_token_id
        assert causal.decode(row[: length - 1]) == f" {query.answer}"
    read = causal.decode(batch.inside.inputs.ids[0][batch.inside.inputs.mask[0]])
    assert read == shown(EXAMPLES) + "Question: Where is the Colosseum?\nAnswer:"


def test_a_long_question_is_cut_and_keeps_what_follows_it(causal):
    form = question_answer(causal)
    ((*start, last),) = form.questions(["Who was it " * 40 + "?"], 32)
    assert len(start) + 1 == 32 + len(form.examples)
    assert causal.decode([*start, last]).endswith("\nAnswer:")


def test_an_opening_token_is_written_once():
    """Of a tokenizer that puts one before every text, as BERT's does."""
    form = plain(AutoTokenizer.from_pretrained(ASSETS / "models" / "scope"))
    row = form.conversation([("Who wrote Hamlet?", "Shakespeare")], "Who?", 32)
    assert row.count(form.opening[0]) == 1
    assert form.tokenizer.decode(row) == "[CLS] Who wrote Hamlet? Shakespeare Who? [SEP]"


def test_todays_forms():
    """Token ids as they were before templates, for T5, BERT and Blenderbot."""
    t5, bert, blenderbot = (
        AutoTokenizer.from_pretrained(folder)
        for folder in (
            ASSETS / "models" / "base",
            ASSETS / "models" / "scope",
            MODELS / "blenderbot_small-tiny",
        )
    )
    for question, answer, _ in strings()[::20]:
        for tokenizer, opening, closing in ((t5, 0, 1), (blenderbot, 0, 0)):
            asked, said = (tokenizer(text)["input_ids"] for text in (question, answer))
            form = plain(tokenizer)
            assert form.questions([question], 99) == [asked]
            assert form.answers([answer]) == [said]
            expected = asked[: len(asked) - closing] + said[opening : len(said) - closing]
            assert form.context(asked, said) == expected
        form = separated(bert)
        written = form.context(form.questions([question], 99)[0], form.answers([answer])[0])
        assert written == bert(f"{question}[SEP]{answer}[SEP]")["input_ids"]
