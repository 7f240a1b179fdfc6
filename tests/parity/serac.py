"""SERAC cases (`rep`) on question answering."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from serac_jax.core.batch import EditBatch, Examples, splice, take
from serac_jax.core.metrics import mean
from serac_jax.editors.edit_table import route
from serac_jax.editors.protocol import Editor, Thresholds
from serac_jax.editors.serac import scope as scopes
from serac_jax.editors.serac.loss import Options
from serac_jax.editors.serac.reader import Reader as EditReader
from serac_jax.editors.serac.router import Router
from serac_jax.editors.serac.serac_editor import serac
from serac_jax.index.distance import Distance
from serac_jax.models import Model, convert
from serac_jax.text.tokens import prefix_token_count
from tests.parity import classes, golden, training
from tests.parity.compare import Comparison
from tests.parity.precision import load
from tests.parity.recorded import Reader, cropped, kl_rounding, load_base, scalars, sentiment, widen


class Parts(NamedTuple):
    """A case's models and options."""

    base: Model
    base_params: Any
    classifier: Model
    counterfactual: Model | None
    scope: scopes.Scope
    editor: Editor
    params: Any
    options: Options
    lead: int
    cross: bool

    @property
    def misread(self) -> bool:
        """Whether the original takes the logarithm of a mixed probability for a logit."""
        return bool(self.base.labels) and (
            self.options.soft_weighting or not self.options.supervised
        )

    def locate(self, name: str) -> str:
        """The parameter path of one of the original's names."""
        return locate(name, self.classifier, self.counterfactual, self.params)

    def recorded(self, logits: Any) -> Any:
        """Logits in the form that was recorded."""
        return classes.logit(logits) if self.base.labels else logits

    @property
    def reader(self) -> Reader:
        kind = classes.ClassReader if self.base.labels else Reader
        return kind(self.base.tokenizer, self.classifier.tokenizer)


def build(manifest: dict[str, Any], root: Path, comparison: Comparison) -> Parts:
    """The editor of a manifest's configuration, in the original's names."""
    config, rep = manifest["config"], manifest["config"]["rep"]
    checker = classes.checks_facts(config)
    base, base_params = (
        classes.load_checker(config, root) if checker else load_base(manifest, root, comparison)
    )
    # The original reads the CLS state of a classifier whose name contains "bert", and the pooler's
    # output of any other.
    output = "head" if rep["cross_attend"] else "cls" if "bert" in rep["cls_name"] else "pooler"
    classifier, classifier_params = load(
        root / rep["cls_name"], output=output, remat=rep["checkpoint_grad"]
    )
    counterfactual = counterfactual_params = None
    if not rep["freeze_cntr"]:
        small = (
            classes.load_counterfactual(config, root)
            if checker
            else load(root / config["model"]["small_name"])
        )
        counterfactual, counterfactual_params = small
    if rep["cross_attend"]:
        scope = scopes.cross_attention(classifier, prefix_token_count(classifier.tokenizer))
    else:
        scope = scopes.embedding(
            classifier,
            Distance(rep["cos"], rep["square"], rep["bound_embeds"], rep["dist_heads"]),
        )
    options = Options(
        rep["supervised"],
        rep["soft_weighting"],
        rep["use_all_negatives"],
        rep["freeze"],
        config["cedit"],
        config["cloc"],
        config["unlikelihood"],
    )
    opening = prefix_token_count(base.tokenizer)
    editor = serac(
        Router(scope, exact_match=False),  # the original compares no words
        classifier_params,
        EditReader(base, opening),
        EditReader(counterfactual, opening) if counterfactual else None,
        counterfactual_params,
        options,
    )
    params = editor.init(jax.random.key(0), base_params)
    for name, index, sign, change in re.findall(
        r"(\S+)\[(\d+)\] ([+-])= ([\d.]+) before everything", manifest["note"]
    ):
        path = locate(name, classifier, counterfactual, params)
        leaves = convert.flatten(params)
        leaves[path] = leaves[path].at[int(index)].add(float(sign + change))
        params = convert.unflatten(leaves)
    return Parts(
        base,
        base_params,
        classifier,
        counterfactual,
        scope,
        editor,
        params,
        options,
        opening,
        rep["cross_attend"],
    )


def locate(name: str, classifier: Model, counterfactual: Model | None, params: Any) -> str:
    """The parameter path of one of the original's names: classifier.… or replacement.…"""
    part, key = name.split(".", 1)
    ours, model = {
        "classifier": ("scope", classifier),
        "replacement": ("counterfactual", counterfactual),
    }[part]
    leaves = convert.flatten(params[ours])
    return f"{ours}/{convert.path_of(convert.canonical(key), model.network.rules, leaves)}"


class Passes(NamedTuple):
    """Compiled forward passes; every batch of a case is padded to the same widths, so each compiles
    once."""

    scope_queries: Any
    scope_table: Any
    base: Any
    reader: Any  # the counterfactual model, or the base model in its place
    apply: Any
    edit: Any
    loss: Any

    @classmethod
    def of(cls, parts: Parts) -> Passes:
        reader = parts.base if parts.counterfactual is None else parts.counterfactual

        def edit(params: Any, batch: EditBatch) -> Any:
            return parts.editor.edit(
                params, parts.editor.start(params, parts.base_params, batch.edits), batch.edits
            )

        through_mixture = parts.misread and not parts.options.supervised
        loss = (
            classes.misread_loss(parts.editor, parts.base, parts.options)
            if through_mixture
            else parts.editor.loss
        )
        return cls(
            jax.jit(parts.scope.queries),
            jax.jit(parts.scope.table),
            jax.jit(parts.base.logits),
            jax.jit(reader.logits),
            jax.jit(parts.editor.apply),
            jax.jit(edit),
            jax.jit(jax.value_and_grad(loss, has_aux=True)),
        )


def forward(
    comparison: Comparison,
    case: golden.Case,
    prefix: str,
    parts: Parts,
    passes: Passes,
    params: Any,
    edited: Any,
    queries: Examples,
    gold: Any,
) -> Any:
    """One recorded forward pass: similarities, contexts, and logits of the models and of the
    mixture."""

    def check(name: str, ours: Any, labelled_only: bool = False) -> None:
        recorded = case.get(f"{prefix}/{name}")
        if recorded is not None:
            where = cropped(queries.weight, recorded) > 0 if labelled_only else None
            comparison.check(f"{prefix}/{name}", cropped(ours, recorded), recorded, where)

    memory = edited.table
    vectors = passes.scope_queries(params["scope"], queries)
    table = passes.scope_table(params["scope"], memory, vectors, queries)
    index, similarity, _ = route(memory, queries, table, Thresholds(), exact_match=False)
    check("log_sim_matrix", table)
    check("out/cls_logits", table)
    check("cls_sims", jnp.exp(similarity))
    check("cls_idxs", index)
    if not parts.cross:
        recorded = sorted(
            (name for name in case if name.startswith(f"{prefix}/classifier_emb")),
            key=lambda name: int(name.rpartition("emb")[2]),
        )
        for number, name in enumerate(
            recorded
        ):  # edits first, then queries; some passes were recorded twice
            state = (
                np.tanh(case[name])
                if case.manifest["config"]["rep"]["bound_embeds"]
                else case[name]
            )  # recorded before the bound
            comparison.check(
                name, cropped(memory.keys if 2 * number < len(recorded) else vectors, state), state
            )
    weights = edited.base if parts.counterfactual is None else params["counterfactual"]
    for number, chosen in enumerate((index, index if gold is None else gold)):
        if (
            f"{prefix}/rep_logits{number}" not in case
            and f"{prefix}/rep_input{number}/input_ids" not in case
            and number
        ):
            continue
        spliced = splice(take(memory.edits.prefix, chosen), queries.inputs, parts.lead)
        check(f"rep_input{number}/input_ids", spliced.ids)
        check("rep_input/input_ids", spliced.ids)
        logits = passes.reader(weights, queries._replace(inputs=spliced))
        check(f"rep_logits{number}", parts.recorded(logits))
        if number or gold is None:
            check("out/rep_gold_logits", parts.recorded(logits))
    mixed = passes.apply(params, edited, queries)
    check(
        "out/mixture_logits", parts.recorded(mixed), labelled_only=True
    )  # behind the labels the original's decoder mask differs from pass to pass
    check("logits", parts.recorded(mixed), labelled_only=True)
    return classes.misread(mixed) if parts.misread else mixed


def metrics(
    passes: Passes, params: Any, parts: Parts, batch: EditBatch, mixed: list[Any], base: list[Any]
) -> dict[str, float]:
    """The original's scalars, computed from logits in and out of scope: `mixed` after the edits,
    `base` of the unedited model."""
    (loss, aux), _ = passes.loss(params, parts.base_params, batch, None)
    found = scalars(batch, mixed[0], base[1], mixed[1], parts.options.unlikelihood)
    if not bool(batch.wanted.all()):
        found |= sentiment(batch, base[0], mixed[0])
    if parts.base.labels:
        found |= {"edit/prob": classes.mean_probability(mixed[0], batch.inside)}
    if parts.options.supervised:
        pairs = {
            "loss/cls": "loss_scope",
            "cls/pos_acc": "pairs_inside",
            "cls/neg_acc": "pairs_outside",
            "loss/cntr": "loss_counterfactual",
            "cntr/acc": "counterfactual_accuracy",
        }
        found |= {
            name: mean(aux.metrics[ours]) for name, ours in pairs.items() if ours in aux.metrics
        }
        found |= {"loss/total_supervised": loss} if parts.counterfactual else {}
    else:
        found |= {"loss/total_edit": loss, "loss/total": loss}
    return {name: float(value) for name, value in found.items()}


def run(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """A whole case: the evaluation batch, then every training step."""
    manifest = case.manifest
    config, parts = manifest["config"], build(manifest, root, comparison)
    passes, reader = Passes.of(parts), parts.reader
    if parts.counterfactual is None:
        comparison.depart("the constant NLL of a frozen counterfactual is not part of the loss")
    if parts.misread:
        comparison.depart(
            "a soft mixture of two classes is log-odds; compared as the original misreads it"
        )
    evaluated, trained = training.batches_of(manifest)
    batches = widen(
        [
            reader.batch(golden.batch(cases, name), config["data"]["n_outer_max"])
            for name in (*evaluated, *trained)
        ]
    )
    if evaluated:
        compare_batch(comparison, case, "eval", parts, passes, parts.params, batches.pop(0))
    training.run(comparison, case, learner_of(comparison, case, parts, passes), batches)


def learner_of(
    comparison: Comparison, case: golden.Case, parts: Parts, passes: Passes
) -> training.Learner:
    return training.Learner(
        parts.editor,
        parts.params,
        lambda params, batch: (passes.loss(params, parts.base_params, batch, None)[1], {}),
        parts.locate,
        lambda prefix, params, batch: compare_batch(
            comparison, case, prefix, parts, passes, params, batch
        ),
    )


def compare_batch(
    comparison: Comparison,
    case: golden.Case,
    prefix: str,
    parts: Parts,
    passes: Passes,
    params: Any,
    batch: EditBatch,
) -> None:
    """The forward passes of a batch, in and out of scope, and the scalars that follow from them."""
    edited = passes.edit(params, batch)
    gold = batch.edit_of if parts.options.supervised else None
    asked = bool(batch.inside.rows.any())  # a batch may ask nothing in scope
    sides = ([(batch.inside, gold)] if asked else []) + [(batch.outside, None)]
    mixed = [] if asked else [passes.apply(params, edited, batch.inside)]
    for number, (queries, of) in enumerate([*sides, *((queries, None) for queries, _ in sides)]):
        if number < len(sides) or any(name.startswith(f"{prefix}/fwd{number}/") for name in case):
            mixed.append(
                forward(
                    comparison,
                    case,
                    f"{prefix}/fwd{number}",
                    parts,
                    passes,
                    params,
                    edited,
                    queries,
                    of,
                )
            )
    base = [passes.base(parts.base_params, queries) for queries in (batch.inside, batch.outside)]
    for name, queries, ours in (
        ("kl0/pre", batch.outside, base[1]),
        ("kl0/post", batch.outside, mixed[1]),
        ("loss0/pre_edit_logits", batch.inside, base[0]),
        ("base_logits_loc", batch.outside, base[1]),
        ("base_logits_outer", batch.inside, base[0]),
    ):
        recorded = case.get(f"{prefix}/{name}")
        if recorded is not None:
            comparison.check(
                f"{prefix}/{name}",
                cropped(parts.recorded(ours), recorded),
                recorded,
                cropped(queries.weight, recorded) > 0,
            )
    info = case.manifest["values"].get(f"{prefix}/info", {})
    lost = kl_rounding(base[1], mixed[1], batch.outside.weight)
    for name, value in (metrics(passes, params, parts, batch, mixed, base) if info else {}).items():
        if name in info:
            rounding = lost if name in ("loss/loc", "kl/edit") else 0.0
            comparison.check(
                f"{prefix}/info/{name}",
                np.float32(value),
                np.float32(info[name]),
                rounding=rounding,
            )


def run_sequence(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """Edits one after the other; after each, queries in and out of scope."""
    manifest = case.manifest
    parts = build(manifest, root, comparison)
    passes, reader = Passes.of(parts), parts.reader
    recorded = [golden.batch(cases, name) for name in (*manifest["edits"], manifest["eval_batch"])]
    *batches, queries = widen([reader.batch(batch, None) for batch in recorded])
    stored = np.cumsum([len(batch.edits.labels) for batch in batches])
    room = jax.tree.map(
        lambda leaf: jnp.zeros((stored[-1], *leaf.shape[1:]), leaf.dtype), batches[0].edits
    )
    edited = parts.editor.start(parts.params, parts.base_params, room)
    for number, batch in enumerate(batches):
        edited = parts.editor.edit(parts.params, edited, batch.edits)
        written = take(
            edited.table._replace(count=jnp.zeros(stored[-1])), jnp.arange(stored[number])
        )  # without empty slots, as the original
        view = edited._replace(table=written._replace(count=edited.table.count))
        for name, side in (("edit_outer", queries.inside), ("loc", queries.outside)):
            forward(
                comparison,
                case,
                f"after{number}/{name}",
                parts,
                passes,
                parts.params,
                view,
                side,
                None,
            )
