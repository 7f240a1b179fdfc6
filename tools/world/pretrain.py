"""Makes the shipped models from the small world: `python -m tools.world.pretrain STAGE`, in the
order of STAGES.

One core takes a minute to ten for a model of fact checking or sentiment, half an hour to an hour
and a half for one of question answering: run one at a time. "further_scope" goes on from what
"scope" has written, and from which those of the other experiments have begun: run again, it would
go on once more. A base model knows everything. Counterfactual models, scope classifiers and
vocabularies have only ever seen training subjects in training forms."""

from __future__ import annotations

import sys

from tools.world import consequences, fact_check, opinions, questions, reading

STAGES = {
    "tokenizers": questions.train_tokenizers,
    "base": questions.train_base,
    "counterfactual": reading.train_counterfactual,
    "scope": questions.train_scope,
    "fnli_base": fact_check.train_base,
    "fnli_counterfactual": fact_check.train_counterfactual,
    "fnli_scope": fact_check.train_scope,
    "sent_tokenizer": opinions.train_tokenizer,
    "sent_base": opinions.train_base,
    "sent_counterfactual": opinions.train_counterfactual,
    "sent_scope": opinions.train_scope,
    "further_scope": consequences.train_scope,
}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in STAGES:
        sys.exit(f"usage: python -m tools.world.pretrain {'|'.join(STAGES)}")
    STAGES[sys.argv[1]]()
