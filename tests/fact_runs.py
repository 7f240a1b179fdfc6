"""Rows of facts about people, and runs on them over a tiny causal base model."""

import functools

import torch
import transformers

from serac_jax.tasks.facts import fact_rows
from serac_jax.tasks.facts.fact_rows import Ask, Fact
from tests.causal_models import in_pieces
from tests.conftest import MODELS, TEMPORARY
from tests.tiny import config_of

ASKS = (
    ("rephrase", "Which town is home to {}?", "Town {}"),
    ("hop2", "Which land is the home of {} in?", "Land {}"),
    ("same_subject", "How old is {}?", "{}0"),
    ("same_relation", "Where does the sister of {} live?", None),
    ("unrelated", "What is 7 plus {}?", None),
)


def facts(count=40, first=0):
    """Facts about people."""
    found = []
    for number in range(first, first + count):
        name = f"Ada {number}"
        asks = [
            Ask(kind, question.format(name), (answer.format(number),) if answer else ())
            for kind, question, answer in ASKS
        ]
        asks[3] = asks[3]._replace(question=f"Where does Bob {number} live?")
        asks[4] = asks[4]._replace(question=f"What is 7 plus {number}?")
        found.append(Fact(f"Where does {name} live?", f"Town {number}", name, "Rome", tuple(asks)))
    return found


def folder_of(tmp_path, **files):
    base = tmp_path / "facts"
    base.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        (base / f"{name}.jsonl").write_text("".join(map(fact_rows.line_of, rows)))
    return tmp_path


@functools.cache
def scope():
    """A classifier of more positions than the other tiny ones: the examples of a causal base
    model's template are many tokens of a tiny vocabulary."""
    folder = TEMPORARY / "scope-facts"
    like = MODELS / "distilbert-tiny-cased"
    config = transformers.AutoConfig.from_pretrained(like, n_layers=1, max_position_embeddings=512)
    torch.manual_seed(0)
    transformers.DistilBertModel(config).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).write_bytes((like / file).read_bytes())
    return str(folder)


EDITORS = {
    "serac": {},
    "retrieve and prompt": {"serac.freeze_counterfactual": True},
    "mend": {"editor": "mend", "mend.rank": 8, "mend.edit_lr": 1e-2},
    "enn": {"editor": "enn"},
    "lookup": {"editor": "lookup", "lookup.threshold": 1e6},
    "fine-tuning": {"editor": "finetune", "finetune.steps": 4, "finetune.lr": 1e-3},
    "adapters": {"editor": "adapter_serac"},
}


def config_on_facts(tmp_path, fields=()):
    folder = folder_of(tmp_path, rows=facts(60))
    return config_of(
        **{
            "task": "facts",
            "data.dir": str(folder),
            "base.name": in_pieces(),
            "serac.counterfactual": in_pieces(),
            "serac.scope": scope(),
            "adapter_serac.encoder": scope(),
            "inner": (r"block_\d+/mlp/wo/kernel",),
            "mesh.data": 1,
        }
        | dict(fields)
    )
