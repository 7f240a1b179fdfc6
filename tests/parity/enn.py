"""ENN cases (`enn`)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from serac_jax.batch import EditBatch
from serac_jax.editors import Editor
from serac_jax.editors.enn import Options, enn
from serac_jax.models import Model, convert
from tests.parity import classes, golden
from tests.parity.compare import Comparison
from tests.parity.precision import real
from tests.parity.recorded import Reader, cropped, exact_corrections, kl_rounding, load_base, scalars, sentiment, turned, widen


class Parts(NamedTuple):
    """A case's model and options."""

    base: Model
    base_params: Any
    kernels: tuple[str, ...]  # paths of the inner kernels, in the order of the original's rates
    editor: Editor
    single: Editor  # an edit is one step: edits compose, so its repetition shows the states within an edit
    learner: Editor  # its loss is the one that the original descends
    options: Options
    params: Any

    @property
    def reader(self) -> Reader:
        return (classes.ClassReader if self.base.labels else Reader)(self.base.tokenizer)

    def recorded(self, logits: Any) -> Any:
        """Logits in the form that was recorded."""
        return classes.logit(logits) if self.base.labels else logits


def build(comparison: Comparison, case: golden.Case, root: Path) -> Parts:
    """The editor of a manifest's configuration, in the original's names, with the recorded start values."""
    config = case.manifest["config"]
    checker = classes.checks_facts(config)
    base, base_params = classes.load_checker(config, root) if checker else load_base(case.manifest, root, comparison)
    kernels = tuple(locate(name, base, base_params).removeprefix("base/") for name in config["model"]["inner_params"])
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
    editor, single, learner = (enn(base, tuple(map(re.escape, kernels)), options._replace(**change)) for change in changes)
    leaves = convert.flatten(editor.init(jax.random.key(0), base_params))
    for name in [name for name in case if name.startswith("init/model.")]:
        path = locate(name.removeprefix("init/"), base, base_params)
        leaves[path] = jnp.asarray(case[name].T if path.endswith("/kernel") else case[name])
    return Parts(base, base_params, kernels, editor, single, learner, options, jax.tree.map(real, convert.unflatten(leaves)))


def locate(name: str, base: Model, base_params: Any) -> str:
    """The parameter path of one of the original's names, with or without the editor's own "model." before the network's."""
    leaves = convert.flatten(base_params)
    found = (convert.path_of(convert.canonical(key), base.network.rules, leaves) for key in (name, name.removeprefix("model.")))
    return f"base/{next(path for path in found if path in leaves)}"


class Passes(NamedTuple):
    """Compiled functions; every batch of a case is padded to the same widths, so each compiles once."""

    logits: Any
    edit: Any
    step: Any
    gradient: Any

    @classmethod
    def of(cls, parts: Parts) -> Passes:
        gradient = jax.jit(jax.grad(parts.learner.loss, has_aux=True))
        return cls(
            jax.jit(parts.base.logits),
            jax.jit(parts.editor.edit),
            jax.jit(parts.single.edit),
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
    sides = ((weights, batch.inside), (edited, batch.inside), (parts.base_params, batch.outside), (weights, batch.outside), (edited, batch.outside))
    return Answers(*(passes.logits(*side) for side in sides))


def divergences(found: Answers) -> dict[str, tuple[Any, Any]]:
    """Logits before and after whose KL the original logs."""
    edit = found.before, found.after
    return {"loss/loc": edit, "kl/edit": edit, "loss/base": (found.original, found.before), "kl/orig_post": (found.original, found.after)}


def logged(parts: Parts, found: Answers, batch: EditBatch) -> dict[str, float]:
    """The original's logged numbers."""
    options = parts.options
    values = scalars(batch, found.inside, found.before, found.after, options.unlikelihood)
    pre, post = (scalars(batch, found.inside, found.original, after) for after in (found.before, found.after))
    values |= {"loss/base": pre["kl/edit"], "retain/orig_pre": pre["retain/edit"], "retain/orig_post": post["retain/edit"], "kl/orig_post": post["kl/edit"]}
    values["loss/total_edit"] = options.cedit * values["loss/edit"] + options.cloc * values["loss/loc"]
    values["loss/total"] = values["loss/total_edit"] + options.cbase * values["loss/base"]
    if not bool(batch.wanted.all()):
        values |= sentiment(batch, found.inside_before, found.inside)
    if parts.base.labels:
        values["edit/prob"] = classes.mean_probability(found.inside, batch.inside)
    return {name: float(value) for name, value in values.items()}


def run(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """A whole case: the evaluation batch, then every training step: scalars, the first gradient, parameters after steps."""
    manifest = case.manifest
    config, values = manifest["config"], manifest["values"]
    parts = build(comparison, case, root)
    if not config["train_base"]:
        comparison.depart("without train_base the original trains the base model all the same, only without its loss: here cbase=0")
    if config["cbase"] != 1:
        comparison.depart("cbase scales only the logged total in the original: the gradient is compared at cbase=1")
    passes, reader = Passes.of(parts), parts.reader
    recorded = [golden.batch(cases, name) for name in (*manifest["train_batches"], manifest["eval_batch"])]
    *batches, evaluation = widen([reader.batch(batch, config["data"]["n_outer_max"]) for batch in recorded])
    compare_batch(comparison, case, "eval", parts, passes, parts.params, evaluation)

    optimizer = optimizer_of(parts, config)
    params, state = parts.params, optimizer.init(parts.params)
    noise = {entry[0] for entry in comparison.noise.get("zero_or_noise_gradients(name, f32 max, f64 max)", [])}
    for number, batch in enumerate(batches):
        compare_batch(comparison, case, f"train{number}", parts, passes, params, batch)
        gradient = passes.gradient(params, batch)
        if f"train{number}/grad_norm" in values:
            comparison.check(f"train{number}/grad_norm", optax.tree.norm(gradient), np.float32(values[f"train{number}/grad_norm"]))
        if number == 0:
            compare_leaves(comparison, case, "grad0", gradient, parts, set())
        with exact_corrections():
            updates, state = optimizer.update(gradient, state)
        params = optax.apply_updates(params, updates)
        compare_leaves(comparison, case, f"step{number + 1}", params, parts, noise)


def optimizer_of(parts: Parts, config: dict[str, Any]) -> optax.GradientTransformation:
    rates = {"weights": optax.adam(config["lr"]), "rates": optax.adam(config["lr_lr"])}
    return optax.chain(optax.clip_by_global_norm(config["grad_clip"]), optax.partition(rates, parts.editor.groups))


def compare_batch(comparison: Comparison, case: golden.Case, prefix: str, parts: Parts, passes: Passes, params: Any, batch: EditBatch) -> None:
    """The edit of a batch, step by step, the queries' logits before and after, and the scalars that follow from them."""

    def check(name: str, ours: Any, weight: Any) -> None:
        recorded = case.get(f"{prefix}/{name}")
        if recorded is not None:
            comparison.check(f"{prefix}/{name}", cropped(parts.recorded(ours), recorded), recorded, cropped(weight, recorded) > 0)

    state = params["base"]
    for number in range(parts.options.steps):
        check(f"inner0_loss{number}/pred", passes.logits(state, batch.edits), batch.edits.weight)
        state = passes.step(params, state, batch.edits)
    edited = passes.edit(params, params["base"], batch.edits)
    for name, tree in (("edit0/before", {"base": params["base"]}), ("edit0/after", {"base": edited}), ("edit0", params)):
        compare_leaves(comparison, case, f"{prefix}/{name}", tree, parts, set())

    found = answers(parts, passes, params, edited, batch)
    check("loss0/pred", found.inside, batch.inside.weight)
    check("base_logits_outer", found.inside_before, batch.inside.weight)
    pairs = {"kl0/pre": found.before, "kl0/post": found.after, "kl1/pre": found.original, "kl1/post": found.before}
    pairs |= {"kl2/pre": found.original, "kl2/post": found.after, "base_logits_loc": found.before}
    for name, logits in pairs.items():
        check(name, logits, batch.outside.weight)
    info = case.manifest["values"].get(f"{prefix}/info", {})
    rounding = {name: kl_rounding(*pair, batch.outside.weight) for name, pair in divergences(found).items()}
    for name, value in logged(parts, found, batch).items():
        if name in info:
            comparison.check(f"{prefix}/info/{name}", np.float32(value), np.float32(info[name]), rounding=rounding.get(name, 0.0))


def compare_leaves(comparison: Comparison, case: golden.Case, prefix: str, tree: Any, parts: Parts, skipped: Any) -> None:
    """Recorded weights, rates or gradients; those whose gradient is rounding noise take Adam's first steps in a random direction."""
    leaves = convert.flatten(tree)
    for name in [name for name in case if name.startswith(f"{prefix}/")]:
        original = name.removeprefix(f"{prefix}/")
        if original in skipped:
            comparison.depart("parameters whose gradient is rounding noise are not compared after Adam steps")
        elif original == "edit_lrs":
            comparison.check(name, np.stack([leaves[f"rates/{path}"] for path in parts.kernels]), case[name])
        elif "/" not in original:
            path = locate(original, parts.base, parts.base_params)
            comparison.check(name, turned(path, leaves[path]), case[name])


def run_sequence(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """Edits one after the other; after each, the edited kernels and queries in and out of scope."""
    manifest = case.manifest
    parts = build(comparison, case, root)
    if any(name.startswith("edit") for name in manifest["errors"]):
        comparison.depart("the original cannot edit an edited model unless it detaches the first edit")
    passes, reader = Passes.of(parts), parts.reader
    recorded = [golden.batch(cases, name) for name in (*manifest["edits"], manifest["eval_batch"])]
    *batches, queries = widen([reader.batch(batch, None) for batch in recorded])
    edited = parts.editor.start(parts.params, parts.base_params, batches[0].edits)
    for number, batch in enumerate(batches):
        edited = passes.edit(parts.params, edited, batch.edits)
        compare_leaves(comparison, case, f"after{number}", {"base": edited}, parts, set())
        for name, side in (("edit_outer", queries.inside), ("loc", queries.outside)):
            recorded_logits = case.get(f"after{number}/{name}/logits")
            if recorded_logits is not None:
                where = cropped(side.weight, recorded_logits) > 0
                comparison.check(f"after{number}/{name}/logits", cropped(parts.recorded(passes.logits(edited, side)), recorded_logits), recorded_logits, where)


def run_steps(comparison: Comparison, case: golden.Case, cases: Path, root: Path) -> None:
    """Training steps with accumulated gradients, the optimizer stepping where the original's did."""
    manifest, config = case.manifest, case.manifest["config"]
    parts = build(comparison, case, root)
    passes, reader, optimizer = Passes.of(parts), parts.reader, optimizer_of(parts, config)
    comparison.depart("the original's first optimizer step comes a batch late; compared on its schedule")
    params, state, total = parts.params, optimizer.init(parts.params), jax.tree.map(jnp.zeros_like, parts.params)
    noise = {entry[0] for entry in comparison.noise.get("zero_or_noise_gradients(name, f32 max, f64 max)", [])}
    for number, batch in enumerate(widen([reader.batch(golden.batch(cases, name), config["data"]["n_outer_max"]) for name in manifest["batches"]])):
        compare_batch(comparison, case, f"iter{number}", parts, passes, params, batch)
        total = jax.tree.map(lambda whole, part: whole + part / config["accumulate_bs"], total, passes.gradient(params, batch))
        if manifest["values"][f"iter{number}/stepped"]:
            with exact_corrections():
                updates, state = optimizer.update(total, state)
            params, total = optax.apply_updates(params, updates), jax.tree.map(jnp.zeros_like, total)
        compare_leaves(comparison, case, f"iter{number}", params, parts, noise)
