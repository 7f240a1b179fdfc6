"""Unit cases: forward passes of the tiny models, and the parts of which SERAC is made."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from serac_jax import models
from serac_jax.core.batch import Examples, Tokens
from serac_jax.core.losses import balanced_bce, nll, token_kl, weighted_mean
from serac_jax.core.metrics import Score, answer_kept, mean, whole_answer_right
from serac_jax.editors.edit_table import EditTable
from serac_jax.editors.serac import scope as scopes
from serac_jax.index.distance import Distance
from serac_jax.models import Model, convert
from serac_jax.models.generate import greedy
from serac_jax.tasks import neighbours
from tests.parity import golden
from tests.parity.compare import Comparison
from tests.parity.recorded import ids_of, turned


def tokens(case: golden.Case, name: str) -> Tokens:
    return Tokens(
        jnp.asarray(case[f"{name}/in/input_ids"]),
        jnp.asarray(case[f"{name}/in/attention_mask"]).astype(bool),
    )


def hidden_states(model: Model, params: Any, *inputs: Any) -> dict[str, list[np.ndarray]]:
    """What goes into every block, and the last output, by stack, as `transformers` lists hidden
    states."""
    captured: dict[str, list[np.ndarray]] = {}

    def keep(module: Any, method: str) -> bool:
        return method == "__call__"

    apply = partial(model.module.apply, capture_intermediates=keep, mutable=["intermediates"])
    _, state = jax.jit(apply)({"params": params}, *inputs)
    for path, value in convert.flatten(state["intermediates"]).items():
        captured[path.removesuffix("/__call__")] = [np.asarray(item) for item in value]
    return captured


def run_models(comparison: Comparison, case: golden.Case, root: Path) -> None:
    """Logits, losses, hidden states and greedy answers of every folder."""
    for name in sorted({key.split("/")[0] for key in case if "/in/" in key}):
        kind = models.model_type(root / name)
        if kind in STATES:
            run_seq2seq(comparison, case, name, root)
        elif kind in ("bert", "distilbert"):
            run_bert(comparison, case, name, root)


def t5_states(
    params: Any, ids: Any, states: dict[str, list[np.ndarray]], stack: str, blocks: list[np.ndarray]
) -> list[Any]:
    """What `transformers` lists as hidden states."""
    return [params["shared"]["embedding"][ids], *blocks[:-1], states[f"{stack}/final_norm"][0]]


def blenderbot_states(
    params: Any, ids: Any, states: dict[str, list[np.ndarray]], stack: str, blocks: list[np.ndarray]
) -> list[Any]:
    first = states[f"{stack}/norm"][0]
    return [first + states["decoder/positions"][0] if stack == "decoder" else first, *blocks]


STATES = {"t5": t5_states, "blenderbot-small": blenderbot_states}


def run_seq2seq(comparison: Comparison, case: golden.Case, name: str, root: Path) -> None:
    model, params = models.load(str(root / name))
    inputs, recorded = tokens(case, name), case[f"{name}/labels"]
    labels, weight = jnp.asarray(np.maximum(recorded, 0)), jnp.asarray(recorded >= 0, jnp.float32)
    mask = jnp.asarray(case[f"{name}/dec_mask"]).astype(bool)
    apply = jax.jit(model.apply, static_argnames="method")
    logits = apply(params, inputs, labels)
    comparison.check(f"{name}/logits", logits, case[f"{name}/logits"])
    comparison.check(f"{name}/loss", nll(logits, labels, weight), case[f"{name}/loss"])
    comparison.check(
        f"{name}/logits_dec_mask",
        apply(params, inputs, labels, mask),
        case[f"{name}/logits_dec_mask"],
    )
    if f"{name}/dec_ids" in case:  # decoder inputs that are not shifted
        unshifted = jnp.asarray(case[f"{name}/dec_ids"])
        comparison.check(
            f"{name}/logits_dec_ids",
            apply(params, unshifted, mask, inputs, method="logits_after"),
            case[f"{name}/logits_dec_ids"],
        )
        wholly_masked = inputs._replace(mask=inputs.ids == 1)
        comparison.check(
            f"{name}/logits_mask_is_ids",
            apply(params, unshifted, mask, wholly_masked, method="logits_after"),
            case[f"{name}/logits_mask_is_ids"],
        )
    compare_states(comparison, case, name, model, params, inputs, labels)
    compare_greedy(comparison, case, name, model, params, inputs)


def compare_states(
    comparison: Comparison,
    case: golden.Case,
    name: str,
    model: Model,
    params: Any,
    inputs: Tokens,
    labels: Any,
) -> None:
    states = hidden_states(model, params, inputs, labels)
    start = jnp.full((labels.shape[0], 1), model.module.config.start)
    embedded = {"enc": inputs.ids, "dec": jnp.concatenate([start, labels[:, :-1]], -1)}
    for side, stack in (("enc", "encoder"), ("dec", "decoder")):
        paths = sorted(
            (
                path
                for path in states
                if path.startswith(f"{stack}/block_") and path.count("/") == 1
            ),
            key=lambda path: int(path.split("_")[-1]),
        )
        listed = STATES[models.model_type(model.folder)](
            params, embedded[side], states, stack, [states[path][0] for path in paths]
        )
        for number, ours in enumerate(listed):
            if f"{name}/{side}{number}" in case:
                comparison.check(f"{name}/{side}{number}", ours, case[f"{name}/{side}{number}"])


def compare_greedy(
    comparison: Comparison, case: golden.Case, name: str, model: Model, params: Any, inputs: Tokens
) -> None:
    """Recorded from encoder outputs without a mask for the decoder, which then attends to padding
    too."""
    recorded = sorted(key for key in case if key.startswith(f"{name}/greedy"))
    steps = case[recorded[0]].shape[1] - 1
    cache, first = jax.jit(model.start, static_argnums=2)(params, inputs, steps)
    cache = cache._replace(mask=jnp.ones_like(cache.mask))
    begun = *model.decode(params, cache, first), first
    answers = greedy(model, params, *begun, steps, model.decoding)
    for row, key in enumerate(recorded):
        comparison.check(key, answers[row : row + 1], case[key][:, 1:])


def run_bert(comparison: Comparison, case: golden.Case, name: str, root: Path) -> None:
    inputs = tokens(case, name)
    outputs = (
        {"cls": None, "mean": None}
        | ({"pooler": f"{name}/pooler"} if f"{name}/pooler" in case else {})
        | ({"head": f"{name}/seqcls_logits"} if f"{name}/seqcls_logits" in case else {})
    )
    for output, key in outputs.items():
        try:
            model, params = models.load(str(root / name), output=output)
        except models.WeightError:
            if output != "pooler":
                raise
            comparison.depart(
                f"{name} has no pooler weights; the recorded ones were drawn at random"
            )
            continue
        result = jax.jit(model.apply)(params, inputs)
        if key:
            comparison.check(key, result[:, 0] if output == "head" else result, case[key])
    states = hidden_states(
        model if output == "mean" else models.load(str(root / name), output="mean")[0],
        models.load(str(root / name), output="mean")[1],
        inputs,
    )
    blocks = sorted(
        (path for path in states if path.startswith("block_") and "/" not in path),
        key=lambda path: int(path.split("_")[-1]),
    )
    for number, ours in enumerate([states["norm"][0], *(states[path][0] for path in blocks)]):
        if f"{name}/h{number}" in case:
            comparison.check(f"{name}/h{number}", ours, case[f"{name}/h{number}"])


def run_parts(comparison: Comparison, case: golden.Case, root: Path) -> None:
    """Losses, metrics and scope distances, with gradients."""
    for name in sorted({key.split("/")[1] for key in case if key.startswith("balanced_bce/")}):
        prefix = f"balanced_bce/{name}"
        labels = jnp.asarray(case[f"{prefix}/labels"])
        value, gradient = jax.value_and_grad(lambda x, y=labels: balanced_bce(x, y, x, 1 - y))(
            jnp.asarray(case[f"{prefix}/log_probs"])
        )
        comparison.check(f"{prefix}/loss", value, case[f"{prefix}/loss"])
        comparison.check(f"{prefix}/grad", gradient, case[f"{prefix}/grad"])
    for name in ("seq", "seq_nonbinary_mask"):
        prefix = f"kl_loc_loss/{name}"
        before, after, mask = (
            jnp.asarray(case[f"{prefix}/{part}"]) for part in ("pre", "post", "mask")
        )
        value, gradient = jax.value_and_grad(
            lambda x, before=before, mask=mask: weighted_mean(
                token_kl(before, x), mask.astype(jnp.float32)
            )
        )(after)
        comparison.check(f"{prefix}/loss", value, case[f"{prefix}/loss"])
        comparison.check(f"{prefix}/grad_post", gradient, case[f"{prefix}/grad_post"])
    comparison.depart("KL over no position is 0, not NaN")
    for name in ("seq_noshift", "seq_noshift_two_right", "vector_2d"):
        prefix = f"masked_log_probs/{name}"
        logits, recorded = case[f"{prefix}/pred"], case[f"{prefix}/targ"]
        if logits.ndim == 2:
            logits, recorded = logits[:, None], recorded[:, None]
        labels, weight = (
            jnp.asarray(np.maximum(recorded, 0)),
            jnp.asarray(recorded >= 0, jnp.float32),
        )
        value, gradient = jax.value_and_grad(lambda x, y=labels, w=weight: nll(x, y, w))(
            jnp.asarray(logits)
        )
        comparison.check(f"{prefix}/out/nll", value, case[f"{prefix}/out/nll"])
        comparison.check(f"{prefix}/out/prob", jnp.exp(-value), case[f"{prefix}/out/prob"])
        comparison.check(
            f"{prefix}/grad", gradient.reshape(case[f"{prefix}/grad"].shape), case[f"{prefix}/grad"]
        )
        right = whole_answer_right(jnp.asarray(logits), labels, weight)
        comparison.check(
            f"{prefix}/out/acc", mean(Score(right, jnp.ones_like(right))), case[f"{prefix}/out/acc"]
        )
    for name in ("seq", "seq_same", "seq_empty_mask_is_1"):
        prefix = f"retain_rate/{name}"
        before, after, mask = (
            jnp.asarray(case[f"{prefix}/{part}"]) for part in ("pre", "post", "mask")
        )
        kept = answer_kept(before, after, mask.astype(jnp.float32))
        comparison.check(
            f"{prefix}/out", mean(Score(kept, jnp.ones_like(kept))), case[f"{prefix}/out"]
        )
    run_distances(comparison, case, root)
    run_neighbours(comparison, case)


DISTANCES = {
    "square": {},
    "nosquare": {"square": False},
    "cos": {"cosine": True},
    "heads4": {"heads": 4},
    "bound": {"bounded": True},
}


def in_scope(tokens: Tokens) -> Examples:
    """Texts as a scope classifier reads them; nothing else of them is read."""
    rows = tokens.ids.shape[0]
    return Examples(tokens, tokens, tokens, jnp.zeros((rows, 1), int), jnp.ones((rows, 1)))


def run_distances(comparison: Comparison, case: golden.Case, root: Path) -> None:
    """Log-similarities of every kind of distance, and gradients of two weights of the
    classifier."""
    model, params = models.load(str(root / "distilbert-tiny-cased"), output="cls")
    texts = case.manifest["values"]
    stored, asked = (
        in_scope(jax.tree.map(jnp.asarray, ids_of(model.tokenizer, texts[f"logsim/{side}"])))
        for side in ("ctx", "test")
    )
    for name, options in DISTANCES.items():
        scope = scopes.embedding(model, Distance(**options))

        def table(params: Any, scope: scopes.Scope = scope) -> jax.Array:
            return scope.table(
                params,
                EditTable(scope.keys(params, stored), stored, stored.rows > 0, jnp.int32(0)),
                scope.queries(params, asked),
                asked,
            )

        def summed(
            params: Any, weight: jax.Array, table: Any = table
        ) -> tuple[jax.Array, jax.Array]:
            found = table(params)
            return (found * weight).sum(), found

        (_, ours), whole = jax.jit(jax.value_and_grad(summed, has_aux=True))(
            params, jnp.asarray(case[f"logsim/{name}/w"])
        )
        comparison.check(f"logsim/{name}/out", ours, case[f"logsim/{name}/out"])
        gradient = convert.flatten(whole)
        query = "block_0/attention/q/kernel"
        comparison.check(
            f"logsim/{name}/grad_q0", turned(query, gradient[query]), case[f"logsim/{name}/grad_q0"]
        )
        comparison.check(
            f"logsim/{name}/grad_ln",
            gradient["block_1/mlp_norm/scale"],
            case[f"logsim/{name}/grad_ln"],
        )


def run_neighbours(comparison: Comparison, case: golden.Case) -> None:
    """Hard negatives among recorded embeddings, of the edits themselves and of other questions, at
    temperature 0.1.

    How many of the nearest were left out is not recorded: it is the usual rank of the first that
    was kept."""
    edits = np.asarray(neighbours.unit(jnp.asarray(case["distr/edit_embeddings"])))
    for name, key in (("self", "edit"), ("loc", "loc")):
        index, pool = (
            case[f"distr/{name}/idxs"],
            np.asarray(neighbours.unit(jnp.asarray(case[f"distr/{key}_embeddings"]))),
        )
        ranked = neighbours.nearest(edits, pool, len(pool))
        exclude = int(np.median(np.argmax(ranked["index"] == index[:, :1], axis=-1)))
        near = neighbours.nearest(edits, pool, exclude + index.shape[1])[:, exclude:]
        comparison.check(
            f"distr/{name}/probs",
            neighbours.distribution(near["similarity"], 0.1),
            case[f"distr/{name}/probs"],
        )
        gaps = (
            -np.diff(ranked["similarity"], prepend=np.inf, append=-np.inf)[
                :, exclude : exclude + index.shape[1] + 1
            ]
            > 1e-6
        )
        comparison.check(
            f"distr/{name}/idxs", near["index"], index, gaps[:, :-1] & gaps[:, 1:]
        )  # ties come in any order
