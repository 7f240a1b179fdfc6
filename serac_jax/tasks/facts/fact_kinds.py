"""The kinds of questions that a fact may be asked."""

from __future__ import annotations

from serac_jax.tasks.kinds import Kind

HOPS = range(2, 7)
KINDS = (
    Kind("prompt", True, "the edit's own words"),
    Kind("rephrase", True, "the edit's question in other words"),
    Kind("alias", True, "the edit's question with another name of its subject"),
    Kind("yes_no", True, "a question about the edit that is answered by yes or no", "follows"),
    Kind("reversed", True, "a question whose answer is the edit's subject", "follows"),
    Kind("implied", True, "a question whose answer follows from the edit", "follows"),
    *(
        Kind(f"hop{hops}", True, f"a question of {hops} facts, one of them the edit", "follows")
        for hops in HOPS
    ),
    Kind("same_subject", False, "another question about the edit's subject", "near"),
    Kind("same_relation", False, "the edit's question about another subject", "near"),
    Kind("unrelated", False, "a question about something else"),
)
BY_NAME = {kind.name: kind for kind in KINDS}
# In scope, and answered by the edit's own answer where a row gives none.
SAME_ANSWER = ("prompt", "rephrase", "alias")
