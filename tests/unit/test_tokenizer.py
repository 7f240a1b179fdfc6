"""Tokenizers give the same tokens, and the same decoded text, as `transformers`."""

import json
import random
import shutil
import subprocess
import sys

import pytest
import transformers

from serac_jax import models
from serac_jax.core.errors import UserError
from serac_jax.core.model_files import DamagedFile
from tests.conftest import ASSETS, MODELS, ROOT

FOLDERS = sorted(
    {file.parent for root in (MODELS, ASSETS / "models") for file in root.rglob("config.json")}
)
SPECIAL = [
    "",
    "a",
    "?",
    " a  b\tc\n\nd \n",
    "</s> x</s>",
    "[CLS] x [SEP] y[SEP]",
    "<pad>a <unk> <extra_id_0> b<extra_id_1>",
    "__start__ A__end__ __unk__ __newln__ __null__",
    "Ünïcödé ﬁ ½ ① Ⅷ ㎏ é e\u0301 İ",
    "日本語 テスト",
    "don't we're 'tis x's (a.b) e.g., ... !?",
    "😀 b\u200bc\u00a0d ▁a ##ing a@@ b",
    "0123456789 " + "a" * 120,
]


def real_texts():
    """Some rows of every shipped data file."""
    return [
        line.strip()[:300]
        for file in sorted((ASSETS / "data").rglob("*.*"))
        for line in file.read_text().splitlines()[:40]
    ]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_tokens_and_texts_equal_those_of_transformers(folder):
    theirs, ours = transformers.AutoTokenizer.from_pretrained(folder), models.load_tokenizer(folder)
    texts = SPECIAL + real_texts()
    for special in (True, False):
        rows = ours(texts, add_special_tokens=special)["input_ids"]
        assert rows == theirs(texts, add_special_tokens=special)["input_ids"]
        assert ours(texts[-1], add_special_tokens=special)["input_ids"] == rows[-1]
    draw = random.Random(0)
    rows += [[draw.randrange(len(theirs)) for _ in range(12)] for _ in range(200)]
    for skip in (True, False):
        assert ours.batch_decode(rows, skip) == theirs.batch_decode(rows, skip_special_tokens=skip)
    assert len(ours) == len(theirs)
    assert ours.get_vocab() == theirs.get_vocab()
    for role in ("pad", "bos", "eos", "unk", "sep"):
        assert getattr(ours, f"{role}_token_id") == getattr(theirs, f"{role}_token_id")
    assert set(ours.all_special_tokens) <= set(theirs.all_special_tokens)


def test_a_saved_tokenizer_is_the_same(tmp_path):
    for name in ("t5-tiny", "blenderbot_small-tiny"):
        ours = models.load_tokenizer(MODELS / name)
        folder = tmp_path / name
        folder.mkdir()
        shutil.copyfile(MODELS / name / "config.json", folder / "config.json")
        ours.save_pretrained(folder)
        again = models.load_tokenizer(folder)
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        assert again(SPECIAL)["input_ids"] == ours(SPECIAL)["input_ids"]
        assert theirs(SPECIAL)["input_ids"] == ours(SPECIAL)["input_ids"]


def test_a_tokenizer_without_tokenizer_json_is_read_by_transformers(tmp_path):
    """As WordPiece's vocab.txt; written again, it has a tokenizer.json."""
    folder = shutil.copytree(MODELS / "bert-tiny-cased", tmp_path / "bert")
    (folder / "tokenizer.json").unlink()
    ours = models.load_tokenizer(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert ours(SPECIAL)["input_ids"] == theirs(SPECIAL)["input_ids"]
    (tmp_path / "saved").mkdir()
    ours.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "tokenizer.json").exists()
    again = models.load_tokenizer(tmp_path / "saved")
    assert again(SPECIAL)["input_ids"] == theirs(SPECIAL)["input_ids"]


@pytest.mark.slow
def test_loading_a_model_imports_no_transformers():
    code = """
import sys
from serac_jax import models
for name in ("base", "scope", "sent_base", "fnli_base"):
    output = {"scope": "cls", "fnli_base": "head"}.get(name, "")
    models.load(f"mini/{name}", output=output)
print(sorted({"transformers", "torch", "optax", "orbax", "huggingface_hub"} & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_model_folder_is_refused(tmp_path, file):
    folder = shutil.copytree(MODELS / "t5-tiny", tmp_path / "t5")
    found = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(found | {"auto_map": {"AutoModel": "evil.Model"}}))
    (folder / "evil.py").write_text("raise SystemExit")
    with pytest.raises(UserError, match=rf"{file}: 'auto_map' asks for code .* is never run"):
        models.load(str(folder))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("t5-tiny", "config.json"),
        ("t5-tiny", "generation_config.json"),
        ("t5-tiny", "tokenizer.json"),
        ("t5-tiny", "tokenizer_config.json"),
        ("t5-tiny", "model.safetensors"),
        ("blenderbot_small-tiny", "vocab.json"),
        ("blenderbot_small-tiny", "merges.txt"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe\x00broken\n\xff"])
def test_damaged_files_are_named(tmp_path, name, file, content):
    folder = shutil.copytree(MODELS / name, tmp_path / "model")
    (folder / file).write_bytes(content)
    if file == "merges.txt" and b"\xff" not in content:
        return  # a vocabulary without merges is one of single letters
    with pytest.raises(DamagedFile, match=rf"{file}: .*; is the file complete\?") as caught:
        models.load(str(folder))
    assert "\n" not in str(caught.value)


def test_a_template_with_a_token_that_it_does_not_list_is_refused(tmp_path):
    shutil.copytree(MODELS / "bert-tiny-cased", tmp_path, dirs_exist_ok=True)
    file = tmp_path / "tokenizer.json"
    written = json.loads(file.read_text())
    del written["post_processor"]["special_tokens"]["[SEP]"]
    file.write_text(json.dumps(written))
    with pytest.raises(UserError, match=r"tokenizer\.json: adds '\[SEP\]' to texts"):
        models.load_tokenizer(tmp_path)
