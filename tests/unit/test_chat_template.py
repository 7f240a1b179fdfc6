"""Chat templates: the text and the tokens of `transformers`, in a sandbox."""

import json
from dataclasses import replace

import pytest
import tokenizers
import transformers

from serac_jax.core.errors import UserError
from serac_jax.core.model_files import DamagedFile
from serac_jax.text import chat_template, tokenizer
from serac_jax.text.templates import TEMPLATES

# As SmolLM2's: a system turn is added where there is none.
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As Llama 3's: it opens the text itself, and cuts blanks around what is said.
LLAMA3 = """{%- set ns = namespace(first=true) -%}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] not in ('system', 'user', 'assistant') %}
        {{- raise_exception("there is no role " + message['role']) }}
    {%- endif %}
    {{- '<|im_start|>' + message['role'] + "\\n\\n" + message['content'] | trim + '<|im_end|>' }}
    {%- set ns.first = false %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n\\n' }}
{%- endif %}
"""
# What else templates use: marks of what is trained on, loops that end early, JSON, macros.
OTHER = """{% macro said(m) %}{{ m.role }}: {{ m.content }}{% endmacro %}
{% for m in messages %}
    {% if loop.index > 9 %}{% break %}{% endif %}
    {% if m.role == 'assistant' %}
{% generation %}{{ said(m) }}{% endgeneration %}

    {% else %}
{{ said(m) }} {{ {'text': '<é>'} | tojson }}
    {% endif %}
{% endfor %}
{% if tools is none and documents is none %}{{ eos_token }}{% endif %}
{% if add_generation_prompt %}assistant: {% endif %}"""
TURNS = [
    ("user", "Who wrote Hamlet?"),
    ("assistant", "William Shakespeare"),
    ("user", "  And <Faust>? "),
    ("assistant", "Goethe\n"),
    ("user", "Naïve 😀 question"),
]
CONVERSATIONS = [
    TURNS[:1],
    TURNS[:3],
    TURNS,
    TURNS[:2],
    [("system", "Answer in a word."), *TURNS[:1]],
]


def folder_of(path, template):
    """A tokenizer's folder with a chat template."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<|endoftext|>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["user assistant who wrote the question"] * 3, trainer)
    made.save(str(path / "tokenizer.json"))
    settings = {
        "bos_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    settings |= {"chat_template": template} if template is not None else {}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


def messages(turns):
    return [{"role": role, "content": content} for role, content in turns]


@pytest.mark.parametrize("template", [SMOLLM2, LLAMA3, OTHER], ids=["smollm2", "llama3", "other"])
def test_conversations_equal_those_of_transformers(tmp_path, template):
    ours = tokenizer.read(folder_of(tmp_path, template))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for turns in CONVERSATIONS:
        for asks in (True, False):
            text = chat_template.render(ours, messages(turns), asks)
            expected = theirs.apply_chat_template(
                messages(turns), tokenize=False, add_generation_prompt=asks
            )
            assert text == expected


@pytest.mark.parametrize("template", [SMOLLM2, LLAMA3], ids=["smollm2", "llama3"])
def test_the_form_chat_has_the_tokens_of_transformers(tmp_path, template):
    """Of questions and answers that have no blanks around them, which a template may drop."""
    ours = tokenizer.read(folder_of(tmp_path, template))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    turns = [(role, content.strip()) for role, content in TURNS]
    pairs = [(turns[at][1], turns[at + 1][1]) for at in (0, 2)]
    for count in range(3):
        row = TEMPLATES["chat"](ours).conversation(pairs[:count], turns[-1][1], 500)
        expected = theirs.apply_chat_template(
            messages([*turns[: 2 * count], turns[-1]]), add_generation_prompt=True
        )
        assert row == expected["input_ids"]


def test_the_default_of_several_templates_and_a_file_of_its_own_are_read(tmp_path):
    several = [
        {"name": "tool_use", "template": "tools"},
        {"name": "default", "template": "of several"},
    ]
    folder = folder_of(tmp_path, several)
    assert tokenizer.read(folder).chat_template == "of several"
    (folder / "chat_template.jinja").write_text("of a file")
    assert tokenizer.read(folder).chat_template == "of a file"
    (folder / "saved").mkdir()
    tokenizer.read(folder).save_pretrained(folder / "saved")
    assert tokenizer.read(folder / "saved").chat_template == "of a file"
    (folder / "other").mkdir()
    with pytest.raises(DamagedFile, match="chat_template that is no text"):
        tokenizer.read(folder_of(folder / "other", 3))


def test_a_tokenizer_without_a_template_is_told(tmp_path):
    ours = tokenizer.read(folder_of(tmp_path, None))
    with pytest.raises(UserError, match=r"has no chat template .* 'question_answer'"):
        TEMPLATES["chat"](ours)


@pytest.mark.parametrize(
    "template",
    [
        "{% for x in %}",
        "{{ raise_exception('no\nsystem turns') }}",
        "{{ messages[9].content }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}{{ nothing.x }}",
        "{{ messages.__class__.__init__.__globals__.x }}",
        "{{ range(10 ** 9) | list }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% include '/etc/passwd' %}",
        "{{ namespace(__class__=1).__class__.x }}",
    ],
)
def test_what_a_template_may_not_do_is_refused_in_a_line(tmp_path, template):
    ours = replace(tokenizer.read(folder_of(tmp_path, None)), chat_template=template)
    with pytest.raises(UserError) as error:
        chat_template.render(ours, messages(TURNS))
    assert "cannot write this conversation" in str(error.value)
    assert "\n" not in str(error.value)
