"""Where an editor comes from: the shipped ones, a folder that was saved, a run of train.py, or a
repository of the Hugging Face Hub; and saving one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh

from serac_jax import models
from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.core.fields import DTYPES
from serac_jax.core.sharding import make_mesh, placer
from serac_jax.editors.serac import check_vocabulary
from serac_jax.models import Load, adapters, hub
from serac_jax.runtime import program
from serac_jax.serving import editor_spec as specs
from serac_jax.serving.parts import Part, Parts

SHIPPED = hub.SHIPPED.parent / "editors"
# By name: a real language model's, and three of a small made-up world for tests.
SHIPPED_FOLDERS = {
    "smollm2": "smollm2",
    "mini": "zsre",
    "mini/zsre": "zsre",
    "mini/fnli": "fnli",
    "mini/sent": "sent",
}
FILES = [specs.FILE, "*/*.json", "*/*.txt", "*/*.safetensors"]


class OtherWeights(UserWarning):
    """A part of an editor has other weights, or another vocabulary, than it was made with."""


def find(
    name: str,
    *,
    base: bool = True,
    rerank: str = "",
    mesh: Mapping[str, int] | None = None,
    dtype: str | None = None,
) -> Parts:
    """The parts of the editor `name`. Raises UserError where there is none.

    base: whether the base model is needed. rerank: a cross-attention classifier, by the name of its
        model, that reads again what the editor proposes.
    mesh: devices that models are split over.
    dtype: in place of the editor's own, see `precision`.
    """
    if dtype not in (None, *DTYPES):
        raise UserError(f"dtype={dtype!r:.60} is not known; use {' or '.join(map(repr, DTYPES))}")
    folder, load = (
        located(name),
        (partial(models.load, place=placer(made(mesh))) if mesh else models.load),
    )
    if (folder / specs.FILE).exists():
        parts = of_folder(folder, base, load, dtype)
    else:
        from serac_jax.serving.trained_run import (
            of_run,  # what trains and its data sets: a saved editor starts sooner without them
        )

        parts = of_run(folder, mesh or {}, dtype)
    if rerank:
        part = Part(*load(rerank, output="head", **precision(parts.spec, "rerank")))
        parts = parts._replace(
            spec=parts.spec._replace(parts=parts.spec.parts | {"rerank": rerank}),
            networks=parts.networks | {"rerank": part},
        )
    if base and "base" not in parts.networks:
        raise UserError(
            f"{name} has no base model of its own; give one: load({name!r}, base=…), a function"
            " from a text to a text"
        )
    return parts


def made(mesh: Mapping[str, int]) -> Mesh:
    """The mesh of so many devices an axis. Raises UserError."""
    if strange := sorted(mesh.keys() - {"data", "model"}):
        raise UserError(
            f"mesh has no axis {strange[0]!r}; give the number of devices of 'data', of 'model', or"
            " of both"
        )
    return make_mesh(data=mesh.get("data", 1), model=mesh.get("model", 1))


def devices(mesh: Mapping[str, int] | None) -> list[Any] | None:
    """All devices of a mesh."""
    return made(mesh).devices.flatten().tolist() if mesh else None


def located(name: str) -> Path:
    """The folder of an editor."""
    folder = files.expanded(name)
    if folder.is_dir():
        # A run has versions.json from its beginning, checkpoints only where something is learned.
        if not any(
            (folder / file).exists() for file in (specs.FILE, "versions.json", "checkpoints")
        ):
            raise UserError(
                f"{folder} holds neither {specs.FILE}, which `save` writes, nor a run of train.py"
            )
        return folder
    if name in SHIPPED_FOLDERS:
        return SHIPPED / SHIPPED_FOLDERS[name]
    if name.partition("/")[0] == "mini":
        raise UserError(f"no editor {name!r} is shipped; there are {', '.join(SHIPPED_FOLDERS)}")
    return downloaded(name)


def downloaded(name: str) -> Path:
    """The folder of a repository of the Hub, which is downloaded once and cached."""
    # a quarter of a second, for this alone
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]

    for offline in (True, False):
        try:
            folder = Path(snapshot_download(name, allow_patterns=FILES, local_files_only=offline))
        except (
            Exception
        ) as error:  # the Hub's own errors and those of whichever HTTP library it uses
            if offline:
                continue
            raise UserError(
                f"{name!r} is neither a folder nor a shipped editor"
                f" ({', '.join(SHIPPED_FOLDERS)}),"
                " and the Hugging Face Hub gives no repository of that name"
            ) from error
        if (folder / specs.FILE).exists():
            return folder
    raise UserError(
        f"the repository {name!r} holds no {specs.FILE}, so it is no saved editor; a model is named"
        " as a part of one"
    )


def of_folder(folder: Path, base: bool, load: Load, dtype: str | None = None) -> Parts:
    """A saved editor.

    Args:
        load: how models are loaded.
        dtype: in place of the editor's own.
    """
    spec = specs.read(folder)
    spec = spec._replace(dtype=dtype or spec.dtype)
    named = {
        part: str(folder / name.removeprefix("./")) if name.startswith("./") else name
        for part, name in spec.parts.items()
    }
    outputs = {
        "base": "head" if spec.answers else "",
        "scope": spec.pool,
        "counterfactual": "head" if spec.answers else "",
        "rerank": "head",
    }
    networks = {
        part: Part(*load(name, output=outputs[part], **precision(spec, part)))
        for part, name in named.items()
        if base or part != "base" or "reader" in spec.adapters
    }
    tell_of_other_weights(folder / specs.FILE, spec, named, networks)
    if "base" in networks and "counterfactual" in networks:
        check_vocabulary(networks["base"].model, networks["counterfactual"].model)
    for adapter, name in spec.adapters.items():
        part = {"reader": "base"}.get(adapter, adapter)
        networks[part] = adapted(networks[part], folder / name.removeprefix("./"), adapter)
    reader = networks.get("counterfactual") or networks.get("base")
    if reader is None and "base" not in named:
        raise UserError(
            f"{folder / specs.FILE}: field 'parts' names neither a base nor a counterfactual model;"
            " one of them is needed to read an edit"
        )
    tokenizer = (
        reader.model.tokenizer if reader else models.load_tokenizer(hub.resolve(named["base"]))
    )
    declared = reader.model.network.template if reader else "plain"
    return Parts(spec, networks, tokenizer, spec.template or declared)


def precision(spec: specs.Spec, part: str) -> dict[str, Any]:
    """What a part's weights are held in, and computed in: as in a run, so that the editor that was
    scored is the one that answers.

    Only the frozen base model is held in less than float32; what was trained is not. It is computed
    in what the base model is, but for the sentence encoder beside a reader that judges.
    """
    is_base = part == "base"
    return {
        "param_dtype": jnp.dtype(spec.dtype if is_base else "float32"),
        "dtype": jnp.dtype(spec.dtype if is_base or spec.judge is None else "float32"),
    }


def tell_of_other_weights(
    file: Path, spec: specs.Spec, named: Mapping[str, str], networks: Mapping[str, Part]
) -> None:
    """Warns of parts that are not what the editor was made with.

    Args:
        file: editor.json.
        named: where the parts were loaded from.
    """
    for part, network in networks.items():
        if spec.digests.get(part, network.model.digest) != network.model.digest:
            warnings.warn(
                f"{file}: the weights or the vocabulary of {named[part]!r} ({part}) are not those"
                " that the editor was made with; expect other answers and another rate of false"
                " positives, or get the same weights",
                OtherWeights,
                stacklevel=2,
            )


def adapted(part: Part, folder: Path, adapter: str) -> Part:
    """A part with the adapter of a folder; that of the scope classifier is merged into it."""
    found = adapters.read(folder, part.model, part.params)
    params = part.params if adapter == "reader" else adapters.merged(part.params, found)
    return Part(part.model, params, found)


def save(parts: Parts, folder: Path, base: str) -> None:
    """Writes the editor.

    An adapter is written beside the name of its model. A scope classifier that has an adapter, but
    no name that other machines know, is written as a whole, with the adapter's changes in it.

    Args:
        base: "copy", or "reference": the base model is only named.

    Raises:
        UserError: `base` is neither, or the base model has no name that other machines know.
    """
    if base not in ("copy", "reference"):
        raise UserError(f"base={base!r} is not known; use 'copy' or 'reference'")
    check_place(folder)
    program.writable(folder, "folder")
    named = {part: f"./{part}" for part in parts.networks}
    if base == "reference" and "base" in parts.spec.parts:
        named["base"] = parts.spec.parts["base"]
        if not is_public(named["base"]):
            raise UserError(
                f"the base model {named['base']!r} is a folder of this machine, which no other"
                ' knows; save it with the editor (base="copy")'
            )
    changed: dict[str, str] = {}
    digests = {part: known for part, known in parts.spec.digests.items() if part in named}
    # editor.json comes last: a folder without it is no editor
    for part, network in parts.networks.items():
        digests[part] = network.model.digest
        name, adapter = parts.spec.parts[part], {"base": "reader"}.get(part, part)
        if network.adapter is not None and (part == "base" or is_public(name)):
            changed[adapter] = f"./{adapter}_adapter"
            adapters.write(folder / f"{adapter}_adapter", network.model, network.adapter, name)
            named[part] = named[part] if part == "base" else name
        if named[part].startswith("./"):
            models.save(folder / part, network.model, network.params)
            digests[part] = models.digest_of(network.model, network.params)
    specs.write(parts.spec._replace(parts=named, adapters=changed, digests=digests), folder)


def check_place(folder: Path) -> None:
    """Raises UserError for a folder that holds something else than an editor."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / specs.FILE).exists():
        raise UserError(f"{folder} is not empty and holds no editor; choose another folder")


def is_public(name: str) -> bool:
    """Whether other machines know a model by its name: it is not a folder of this one."""
    return not name.startswith("./") and not files.expanded(name).exists()
