"""MEND (Mitchell et al., *Fast Model Editing at Scale*, ICLR 2022): small networks transform the
gradient of an edit.

The gradient of a kernel is Σ x⊗δ over the tokens of the edit, where x is the layer's input and δ
the gradient of its output. A network maps each token's (x, δ) to (x̃, δ̃), and the kernel changes
by a learned rate times Σ x̃⊗δ̃. Kernels of one shape share a network.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from serac_jax.core.batch import EditBatch, Examples
from serac_jax.core.errors import UserError
from serac_jax.core.losses import edit_loss, locality_loss, nll
from serac_jax.core.metrics import scalar_score
from serac_jax.core.types import Params
from serac_jax.editors.interventions import Factor, factors, replace, select
from serac_jax.editors.mend import mend_networks as networks
from serac_jax.editors.mend.mend_networks import Moments, Network
from serac_jax.editors.protocol import Aux, Editor
from serac_jax.models import Model
from serac_jax.models.generate import generate as decode


class Options(NamedTuple):
    combine: bool = True  # one network for x and δ together, instead of one each
    one_sided: bool = False  # a network for the narrower of x and δ only
    x_only: bool = False
    delta_only: bool = False
    shared: bool = True  # kernels of one shape share networks, each with its own scales and shifts
    norm: bool = True  # normalise x and δ by their running moments
    init: str = "id"
    n_hidden: int = 1
    rank: int = 1920
    act: str = "relu"
    mlp_class: str = "IDMLP"
    descent: bool = True
    edit_lr: float = 1e-4
    cedit: float = 0.1
    cloc: float = 1.0
    unlikelihood: bool = True


def check(options: Options) -> None:
    """Checks options.

    Raises:
      UserError: They contradict each other, or are not implemented.
    """
    sided = [name for name in ("one_sided", "x_only", "delta_only") if getattr(options, name)]
    if options.combine and sided:
        raise UserError(
            f"mend.combine reads x and δ together and cannot be used with mend.{sided[0]}; turn one"
            " of them off"
        )
    if options.mlp_class != "IDMLP":
        raise UserError(
            f"mend.mlp_class={options.mlp_class!r} cannot be built, here as in the original: its"
            " layers know of no kernels that share them; use IDMLP"
        )
    if options.act != "relu":
        raise UserError(f"mend.act={options.act!r} is not known; IDMLP has relu only")
    if options.init not in ("id", "xavier"):
        raise UserError(f"mend.init={options.init!r} is not known; use id or xavier")


def sides(options: Options, width: int, out: int) -> dict[str, slice]:
    """The part of a row [x; δ], of widths `width` and `out`, that each network transforms."""
    x, delta = slice(0, width), slice(width, width + out)
    if options.combine:
        return {"both": slice(0, width + out)}
    if options.one_sided:
        return {"delta": delta} if width > out else {"x": x}
    if options.x_only or options.delta_only:
        return {"x": x} if options.x_only else {"delta": delta}
    return {"x": x, "delta": delta}


def network(options: Options, kernels: int) -> Network:
    """The network of so many kernels; if networks are not shared, of one."""
    return Network(
        options.n_hidden, options.rank, options.init == "id", kernels if options.shared else None
    )


def transform(
    options: Options, weights: Params, moments: Moments | None, found: list[Factor], renew: bool
) -> tuple[list[Factor], Moments | None]:
    """Transforms the factors of the kernels that share one set of networks.

    Moments are updated kernel by kernel, and each kernel is normalised by the moments so far, as in
    the original. Tokens whose input or gradient is 0, such as padding, do not count and give 0.

    Args:
      found: (x, δ) of each kernel.
      renew: Whether to update the moments.

    Returns:
      (x̃, δ̃) of each kernel, and the moments.
    """
    lives: list[Array] = []
    parts: list[Array] = []
    for x, delta in found:
        part, live = (
            jnp.concatenate([x, delta], -1),
            ((x != 0).any(-1) & (delta != 0).any(-1)).astype(x.dtype),
        )
        if moments is not None:
            moments = networks.renewed(moments, part, live) if renew else moments
            part = networks.normalised(moments, part)
        parts.append(jnp.where(live[:, None] > 0, part, 0.0))
        lives.append(live)
    lengths = [len(live) for live in lives]
    rows, live, which = (
        jnp.concatenate(parts),
        jnp.concatenate(lives),
        np.repeat(np.arange(len(found)), lengths),
    )
    width, out = found[0].input.shape[1], found[0].delta.shape[1]
    for side, read in sides(options, width, out).items():
        changed = network(options, len(found)).apply(
            {"params": weights[side]}, rows[:, read], which
        )
        rows = rows.at[:, read].set(jnp.asarray(changed))
    ends = np.cumsum(lengths)[:-1]
    return [
        Factor(part[:, :width], part[:, width:]) for part in jnp.split(rows * live[:, None], ends)
    ], moments


def sharing(kernels: dict[str, Array], shared: bool) -> dict[str, list[str]]:
    """Groups the paths of kernels that share networks, by the networks' name."""
    found: dict[str, list[str]] = {}
    for path, kernel in kernels.items():
        name = (
            "x".join(map(str, kernel.shape))
            if shared
            else path.removesuffix("/kernel").replace("/", ".")
        )
        found.setdefault(name, []).append(path)
    return found


def update(
    base: Model,
    inner: tuple[str, ...],
    options: Options,
    params: Params,
    edited: Params,
    edits: Examples,
    renew: bool,
) -> tuple[Params, dict[str, Moments]]:
    """Applies a batch of edits to the parameters `edited`.

    Args:
      renew: Whether to update the running moments.

    Returns:
      The new parameters, and the running moments by network.
    """
    kernels = select(edited, inner)
    found = factors(
        base, edited, kernels, edits, lambda logits: nll(logits, edits.labels, edits.weight)
    )
    rates = dict(zip(kernels, params["rates"] * (-1.0 if options.descent else 1.0), strict=True))
    moments = jax.lax.stop_gradient(params.get("moments", {}))
    changed: dict[str, Array] = {}
    latest: dict[str, Moments] = {}
    for name, paths in sharing(kernels, options.shared).items():
        pairs, new = transform(
            options,
            params["networks"][name],
            moments.get(name),
            [found[path] for path in paths],
            renew,
        )
        latest |= {} if new is None else {name: new}
        changed |= {
            path: kernels[path] + rates[path] * (pair.input.T @ pair.delta)
            for path, pair in zip(paths, pairs, strict=True)
        }
    return replace(edited, changed), latest


def mend(base: Model, inner: tuple[str, ...], options: Options) -> Editor:
    """The editor; `inner` has patterns of the paths of the kernels that it changes.

    Raises UserError where the options do not fit together."""
    check(options)

    def init(key: Array, base_params: Any) -> Params:
        kernels = select(base_params, inner)
        params: Params = {"networks": {}, "rates": jnp.full(len(kernels), options.edit_lr)}
        groups = {
            name: (len(paths), kernels[paths[0]].shape)
            for name, paths in sharing(kernels, options.shared).items()
        }
        for number, (name, (count, shape)) in enumerate(groups.items()):
            read = sides(options, *shape)
            keys = jax.random.split(jax.random.fold_in(key, number), len(read))
            params["networks"][name] = {
                side: (
                    network(options, count).init(
                        key, jnp.zeros((1, part.stop - part.start)), jnp.zeros(1, jnp.int32)
                    )["params"]
                )
                for key, (side, part) in zip(keys, read.items(), strict=True)
            }
        return params | (
            {"moments": {name: networks.blank(sum(shape)) for name, (_, shape) in groups.items()}}
            if options.norm
            else {}
        )

    def start(params: Params, base_params: Any, room: Examples) -> Any:
        return base_params

    def edit(params: Params, edited: Any, edits: Examples) -> Any:
        return update(base, inner, options, params, edited, edits, renew=False)[0]

    def apply(params: Params, edited: Any, queries: Examples) -> Float[Array, "n t v"]:
        return base.logits(edited, queries)

    def generate(params: Params, edited: Any, queries: Examples, steps: int) -> Array:
        return decode(base, edited, queries.inputs, steps=steps)

    def groups(params: Params) -> Any:
        kinds = {"networks": "weights", "rates": "rates", "moments": "frozen"}

        def group(path: tuple[Any, ...], leaf: Array) -> str:
            return kinds[path[0].key]

        return jax.tree_util.tree_map_with_path(group, params)

    def loss(
        params: Params, base_params: Any, batch: EditBatch, key: Array | None = None
    ) -> tuple[Scalar, Aux]:
        """cedit · NLL of in-scope queries after the edits + cloc · KL(before ‖ after) of others
        (section 3.3)."""
        edited, moments = update(
            base,
            inner,
            options,
            params,
            base_params,
            batch.packed(batch.edits),
            renew=key is not None,
        )
        outside = batch.packed(batch.outside)
        answer_loss = edit_loss(
            base.logits(edited, batch.asked), *batch.answers, options.unlikelihood
        )
        kl = locality_loss(base.logits(base_params, outside), base.logits(edited, outside), outside)
        metrics = {"loss_edit": scalar_score(answer_loss), "loss_kl": scalar_score(kl)}
        overwrite = {
            f"moments/{name}/{part}": leaf
            for name, new in moments.items()
            for part, leaf in new.items()
        }
        return options.cedit * answer_loss + options.cloc * kl, Aux(metrics, overwrite)

    return Editor(init, start, edit, apply, generate, loss, groups, None)
