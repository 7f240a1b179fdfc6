"""ENN cases (`enn`)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from serac_jax.core.batch import EditBatch
from serac_jax.editors.enn.enn_editor import Options, enn
from serac_jax.editors.protocol import Editor
from serac_jax.models import Model, convert
from tests.parity import classes, golden, training
from tests.parity.compare import Comparison
from tests.parity.precision import real
from tests.parity.recorded import (
    Reader,
    compare_leaves,
    cropped,
    kl_rounding,
    load_base,
    scalars,
    sentiment,
    widen,
    with_recorded,
)


class Parts(NamedTuple):
    """A case's model and options."""

    base: Model
    base_params: Any
    kernels: tuple[str, ...]  # paths of the inner kernels, in the order of the original's rates
    editor: Editor
    # an edit is one step: edits compose, so its repetition shows the states within an edit
    single: Editor
    learner: Editor  # its loss is the one that the original descends
    options: Options
    params: Any

    @property
    def reader(self) -> Reader:
        return (classes.ClassReader if self.base.labels else Reader)(self.base.tokenizer)

    def locate(self, name: str) -> str | tuple[str, ...]:
        """The parameter path of one of the original's names; of its array of rates, a path a
        kernel."""
        return (
            tuple(f"rates/{path}" for path in self.kernels)
            if name == "edit_lrs"
            else locate(name, self.base, self.base_params)
        )

    def recorded(self, logits: Any) -> Any:
        """Logits in the form that was recorded."""
        return classes.logit(logits) if self.base.labels else logits


def build(comparison: Comparison, case: golden.Case, root: Path) -> Parts:
    """The editor of a manifest's configuration, in the original's names, with the recorded start
    values."""
    config = case.manifest["config"]
    checker = classes.checks_facts(config)
    base, base_params = (
        classes.load_checker(config, root)
        if checker
        else load_base(case.manifest, root, comparison)
    )
    kernels = tuple(
        locate(name, base, base_params).removeprefix("base/")
        for name in config["model"]["inner_params"]
    )
    options = Options(
        steps=config["enn"]["n_edit_steps"],
        edit_lr=config["edit_lr"],
        first_order=config["enn"]["first_order"],
        cedit=config["cedit"],
        cloc=config["cloc"],
        cbase=config["cbase"] if config["train_base"] else 0.0,
        unlikelihood=config["unlikelihood"],
    )
    changes = {}, {"steps": 1}, {"cbase": float(config["train_base"])}
    editor, single, learner = (
        enn(base, tuple(map(re.escape, kernels)), options._replace(**change)) for change in changes
    )
    parts = Parts(
        base,
        base_params,
        kernels,
        editor,
        single,
        learner,
        options,
        jax.tree.map(real, editor.init(jax.random.key(0), base_params)),
    )
    return parts._replace(params=with_recorded(case, "init", parts.params, parts.locate)[0])


def locate(name: str, base: Model, base_params: Any) -> str:
    """The parameter path of one of the original's names, with or without the editor's own "model."
    before the network's."""
    leaves = convert.flatten(base_params)
    found = (
        convert.path_of(convert.canonical(key), base.network.rules, leaves)
        for key in (name, name.removeprefix("model."))
    )
    return f"base/{next(path for path in found if path in leaves)}"


class Passes(NamedTuple):
    """Compiled functions; every batch of a case is padded to the same widths, so each compiles
    once."""

    logits: Any
    edit: Any
    step: Any
    gradient: Any

    @classmethod
    def of(cls, parts: Parts) -> Passes:
        gradient, edit = (
            jax.jit(jax.grad(parts.learner.loss, has_aux=True)),
            jax.jit(parts.editor.edit),
        )
        return cls(
            jax.jit(parts.base.logits),
            edit,
            edit if parts.options.steps == 1 else jax.jit(parts.single.edit),
            lambda params, batch: gradient(params, parts.base_params, batch, None)[0],
        )


class Answers(NamedTuple):
    """Logits of a batch's queries before and after its edits."""

    inside_before: Any
    inside: Any
    original: Any  # out of scope, the base model before training
    before: Any
    after: Any


def answers(parts: Parts, passes: Passes, params: Any, edited: Any, batch: EditBatch) -> Answers:
    weights = params["base"]
    sides = (
        (weights, batch.inside),
        (edited, batch.inside),
        (parts.base_params, batch.outside),
        (weights, batch.outside),
        (edited, batch.outside),
    )
    return Answers(*(passes.logits(*side) for side in sides))


def divergences(found: Answers) -> dict[str, tuple[Any, Any]]:
    """Logits before and after whose KL the original logs."""
    edit = found.before, found.after
    return {
        "loss/loc": edit,
        "kl/edit": edit,
        "loss/base": (found.original, found.before),
        "kl/orig_post": (found.original, found.after),
    }


def logged(parts: Parts, found: Answers, batch: EditBatch) -> dict[str, float]:
    """The original's logged numbers."""
    options = parts.options
    values = scalars(batch, found.inside, found.before, found.after, options.unlikelihood)
    pre, post = (
        scalars(batch, found.inside, found.original, after, options.unlikelihood)
        for after in (found.before, found.after)
    )
    values |= {
        "loss/base": pre["kl/edit"],
        "retain/orig_pre": pre["retain/edit"],
        "retain/orig_post": post["retain/edit"],
        "kl/orig_post": post["kl/edit"],
    }
    values["loss/total_edit"] = (
        options.cedit * values["loss/edit"] + options.cloc * values["loss/loc"]
    )
    values["loss/total"] = values["loss/total_edit"] + options.cbase * values["loss/base"]
    if not bool(batch.wanted.all()):
        values |= sentiment(batch, found.inside_before, found.inside)
    if parts.base.labels:
        values["edit/prob"] = classes.mean_probability(found.inside, batch.inside)
    return {name: float(value) for name, value in values.items()}


def run(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """A whole case: the evaluation batch, then every training step."""
    manifest = case.manifest
    config, parts = manifest["config"], build(comparison, case, root)
    if not config["train_base"]:
        comparison.depart(
            "without train_base the original trains the base model all the same, only without its"
            " loss: here cbase=0"
        )
    if config["cbase"] != 1:
        comparison.depart(
            "cbase scales only the logged total in the original: the gradient is compared at"
            " cbase=1"
        )
    passes, reader = Passes.of(parts), parts.reader
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
        lambda params, batch: (passes.gradient(params, batch), {}),
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
    """The edit of a batch, step by step, the queries' logits before and after, and the scalars that
    follow from them."""

    def check(name: str, ours: Any, weight: Any) -> None:
        recorded = case.get(f"{prefix}/{name}")
        if recorded is not None:
            comparison.check(
                f"{prefix}/{name}",
                cropped(parts.recorded(ours), recorded),
                recorded,
                cropped(weight, recorded) > 0,
            )

    state = params["base"]
    for number in range(parts.options.steps):
        check(f"inner0_loss{number}/pred", passes.logits(state, batch.edits), batch.edits.weight)
        state = passes.step(params, state, batch.edits)
    edited = passes.edit(params, params["base"], batch.edits)
    for name, tree in (
        ("edit0/before", {"base": params["base"]}),
        ("edit0/after", {"base": edited}),
        ("edit0", params),
    ):
        compare_leaves(comparison, case, f"{prefix}/{name}", tree, parts.locate)

    found = answers(parts, passes, params, edited, batch)
    check("loss0/pred", found.inside, batch.inside.weight)
    check("base_logits_outer", found.inside_before, batch.inside.weight)
    pairs = {
        "kl0/pre": found.before,
        "kl0/post": found.after,
        "kl1/pre": found.original,
        "kl1/post": found.before,
    }
    pairs |= {"kl2/pre": found.original, "kl2/post": found.after, "base_logits_loc": found.before}
    for name, logits in pairs.items():
        check(name, logits, batch.outside.weight)
    info = case.manifest["values"].get(f"{prefix}/info", {})
    rounding = {
        name: kl_rounding(*pair, batch.outside.weight) for name, pair in divergences(found).items()
    }
    for name, value in logged(parts, found, batch).items():
        if name in info:
            comparison.check(
                f"{prefix}/info/{name}",
                np.float32(value),
                np.float32(info[name]),
                rounding=rounding.get(name, 0.0),
            )


def run_sequence(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """Edits one after the other; after each, the edited kernels and queries in and out of scope."""
    manifest = case.manifest
    parts = build(comparison, case, root)
    if any(name.startswith("edit") for name in manifest["errors"]):
        comparison.depart(
            "the original cannot edit an edited model unless it detaches the first edit"
        )
    passes, reader = Passes.of(parts), parts.reader
    recorded = [golden.batch(cases, name) for name in (*manifest["edits"], manifest["eval_batch"])]
    *batches, queries = widen([reader.batch(batch, None) for batch in recorded])
    edited = parts.editor.start(parts.params, parts.base_params, batches[0].edits)
    for number, batch in enumerate(batches):
        edited = passes.edit(parts.params, edited, batch.edits)
        compare_leaves(comparison, case, f"after{number}", {"base": edited}, parts.locate)
        for name, side in (("edit_outer", queries.inside), ("loc", queries.outside)):
            recorded_logits = case.get(f"after{number}/{name}/logits")
            if recorded_logits is not None:
                where = cropped(side.weight, recorded_logits) > 0
                comparison.check(
                    f"after{number}/{name}/logits",
                    cropped(parts.recorded(passes.logits(edited, side)), recorded_logits),
                    recorded_logits,
                    where,
                )
