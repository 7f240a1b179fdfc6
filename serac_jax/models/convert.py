"""Converts Hugging Face weights to parameters and back, by one table of names per network.

A table pairs templates: ("encoder.block.{i}.layer_norm.weight", "encoder/block_{i}/norm/scale"). It
is strict: exactly one rule matches a key, every leaf is filled once, and an unused key is an error
unless it is listed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from safetensors import SafetensorError, safe_open

from serac_jax.core.model_files import DamagedFile, read_json
from serac_jax.models import gguf_model, torch_file
from serac_jax.models.network import Rules, WeightError

Reader = Callable[[], np.ndarray]  # reads one tensor when it is called

# {i}: a layer, {s}: a stack, {p}: an attention projection, {m}: a feed-forward projection, {w}: a
# weight or bias, under either side's name.
PLACEHOLDERS = {
    "i": r"\d+",
    "s": "encoder|decoder",
    "p": "q|k|v|o",
    "m": "wi|wi_0|wi_1|wo",
    "w": "weight|bias|kernel|scale",
}
LEAVES = {"weight": ("kernel", "scale"), "bias": ("bias",)}


def pattern(template: str) -> re.Pattern[str]:
    """A template as a regular expression with a group for every placeholder."""
    return re.compile(
        re.sub(
            r"\\\{(\w)\\\}",
            lambda match: f"(?P<{match[1]}>{PLACEHOLDERS[match[1]]})",
            re.escape(template),
        )
    )


def candidates(template: str, groups: Mapping[str, str]) -> list[str]:
    """The parameter paths that a template can stand for: {w} is a kernel, a norm's scale or a
    bias."""
    leaves = LEAVES.get(groups.get("w", ""), ("",))
    return [template.format(**(dict(groups) | {"w": leaf})) for leaf in leaves]


def path_of(key: str, rules: Rules, leaves: Mapping[str, Any]) -> str | None:
    """The parameter path of a Hugging Face key, even if the network lacks it; None if no rule
    matches."""
    found = [
        candidates(path, match.groupdict())
        for hf, path in rules
        if (match := pattern(hf).fullmatch(key))
    ]
    if len(found) > 1:
        raise WeightError(
            f"{key!r} matches {len(found)} rules of the network's table; exactly one may match"
        )
    if not found:
        return None
    return next((path for path in found[0] if path in leaves), found[0][0])


def key_of(path: str, rules: Rules) -> str:
    """The Hugging Face key of a parameter path."""
    for hf, template in rules:
        if match := pattern(template).fullmatch(path):
            groups = dict(match.groupdict())
            if "w" in groups:
                groups["w"] = "bias" if groups["w"] == "bias" else "weight"
            return hf.format(**groups)
    raise WeightError(f"no rule of the network's table names the parameter {path!r}")


# Names of the modules around a network; "model." only before BERT's own names, since it belongs to
# those of other networks.
WRAPPERS = re.compile(
    r"""^(model\.)*
    ( ((bert|distilbert|transformer(?=\.(encoder|decoder|shared|wte|wpe|h|ln_f)))\.)
    | (?=(embeddings|encoder\.layer|transformer\.layer|pooler|(pre_)?classifier)\.) )""",
    re.VERBOSE,
)
# Around the text part of a model of text and images.
LANGUAGE_MODEL = re.compile(r"^(model\.)?language_model\.(model\.)?")


def canonical(key: str) -> str:
    """Drops the prefixes under which a bare network is saved inside a larger one, and renames early
    LayerNorm weights."""
    key = re.sub(LANGUAGE_MODEL, "" if key.endswith("lm_head.weight") else "model.", key)
    key = re.sub(WRAPPERS, "", key)
    return re.sub(
        r"(LayerNorm|layer_norm)\.(gamma|beta)$",
        lambda m: f"{m[1]}.{'weight' if m[2] == 'gamma' else 'bias'}",
        key,
    )


def from_hf(
    tensors: Mapping[str, Reader],
    leaves: Mapping[str, Any],
    *,
    rules: Rules,
    transposed: bool = True,
    copies: Mapping[str, str] = {},
    ignored: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    source: str,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (parameter path, array) for the network's leaves, one tensor in memory at a time.

    tensors: readers by canonical key. leaves: shapes by parameter path. transposed: whether kernels
        are (out, in). copies: keys that must equal another key.
    optional: first parts of paths that a checkpoint may have and the network not, or the reverse.
    Raises WeightError on a missing, extra, doubled or wrongly shaped weight.
    """
    filled: set[str] = set()
    for key, read in merge_copies(tensors, copies, source).items():
        path = path_of(key, rules, leaves)
        if path is None:
            if any(re.fullmatch(known, key) for known in ignored):
                continue
            raise WeightError(
                f"{source}: the weight {key!r} is not part of this network; a checkpoint of another"
                " architecture?"
            )
        if path not in leaves:
            if path.split("/")[0] in optional:
                continue
            raise WeightError(
                f"{source}: the weight {key!r} belongs to {path!r}, which the configuration does"
                " not have; does config.json fit the weights?"
            )
        array, shape = read(), leaves[path].shape
        if turned := transposed and path.endswith("/kernel"):
            array = array.T
        if array.shape != shape:
            found, wanted = (s[::-1] if turned else s for s in (array.shape, shape))
            raise WeightError(
                f"{source}: the weight {key!r} has shape {found}, but config.json says {wanted}"
            )
        if not np.isfinite(array).all():
            raise WeightError(
                f"{source}: the weight {key!r} has values that are not finite; is the file damaged?"
            )
        filled.add(path)
        yield path, array
    missing = sorted(
        path for path in leaves if path not in filled and path.split("/")[0] not in optional
    )
    if missing:
        names = ", ".join(key_of(path, rules) for path in missing[:5])
        raise WeightError(
            f"{source}: {len(missing)} weights are missing, among them {names}; is the file"
            " complete?"
        )


def merge_copies(
    tensors: Mapping[str, Reader], copies: Mapping[str, str], source: str
) -> dict[str, Reader]:
    """Keeps one key of every shared weight, after checking that its copies are equal."""
    merged = dict(tensors)
    for copy, original in copies.items():
        if copy not in merged:
            continue
        read = merged.pop(copy)
        if not np.array_equal(read(), merged.setdefault(original, read)()):
            raise WeightError(
                f"{source}: {copy!r} should be a copy of {original!r}, but differs from it; the"
                " configuration ties them"
            )
    return merged


def to_hf(
    leaves: Mapping[str, Any], rules: Rules, transposed: bool = True
) -> dict[str, np.ndarray]:
    """Parameters by Hugging Face key, in its orientation; also works for gradients and moments."""
    tensors = {}
    for path, leaf in leaves.items():
        array = np.asarray(leaf)
        tensors[key_of(path, rules)] = np.ascontiguousarray(
            array.T if transposed and path.endswith("/kernel") else array
        )
    return tensors


def flatten(params: Mapping[str, Any]) -> dict[str, Any]:
    """A nested tree as {"a/b/c": leaf}."""
    return traverse_util.flatten_dict(params, sep="/")


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    return traverse_util.unflatten_dict(leaves, sep="/")


WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "flax_model.msgpack",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.gguf",
)


def read_weights(folder: Path) -> dict[str, Reader]:
    """Readers of the tensors of a checkpoint folder, by canonical key; the first format of WEIGHTS
    that it has.

    Raises WeightError where there is none.
    """
    file = next((folder / name for name in WEIGHTS if (folder / name).exists()), None)
    if file is None:
        raise WeightError(f"{folder} has no weights: expected one of {', '.join(WEIGHTS)}")
    return read_files(parts_of(file) if file.name.endswith(".index.json") else [file])


def parts_of(index: Path) -> list[Path]:
    """The files that an index names. Raises WeightError where one is not there."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise DamagedFile(index, "names no files (`weight_map`)")
    files = [index.parent / Path(name).name for name in sorted(set(names.values()))]
    if absent := [part.name for part in files if not part.exists()]:
        raise WeightError(f"{index} names files that are not there: {', '.join(absent)}")
    return files


def read_files(files: list[Path]) -> dict[str, Reader]:
    """Readers of the tensors of several files, by canonical key; the suffix decides the format."""
    tensors: dict[str, Reader] = {}
    for part in files:
        for key, reader in READERS.get(part.suffix, read_torch)(part).items():
            key = canonical(key)
            if key in tensors:
                raise WeightError(f"{part}: the weight {key!r} comes twice")
            tensors[key] = reader
    return tensors


def read_safetensors(file: Path) -> dict[str, Reader]:
    """Readers of the tensors of a .safetensors file, whose sizes the library checks."""
    try:
        handle = safe_open(file, framework="numpy")
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedFile(file, f"is not a safetensors file ({error})") from error

    def reader(key: str) -> Reader:
        def read() -> np.ndarray:
            try:
                return as_float32(handle.get_tensor(key))
            except (SafetensorError, TypeError, ValueError) as error:
                raise DamagedFile(file, f"the tensor {key!r} cannot be read ({error})") from error

        return read

    return {key: reader(key) for key in handle.keys()}  # noqa: SIM118


def read_msgpack(file: Path) -> dict[str, Reader]:
    """Readers of a Flax checkpoint's tensors, in PyTorch's names and orientation."""
    from flax import serialization

    try:
        leaves = flatten(dict(serialization.msgpack_restore(file.read_bytes())))
    except Exception as error:  # whatever msgpack and numpy raise on other bytes
        raise DamagedFile(file, f"is not a Flax checkpoint ({type(error).__name__})") from error
    tensors: dict[str, Reader] = {}
    for path, leaf in leaves.items():
        *parents, last = path.split("/")
        array = np.asarray(leaf)
        turned = array.T if last == "kernel" else array
        name = {"kernel": "weight", "embedding": "weight", "scale": "weight"}.get(last, last)
        tensors[".".join([*parents, name])] = lambda turned=turned: as_float32(turned)
    return tensors


def read_torch(file: Path) -> dict[str, Reader]:
    """Readers of the tensors that `torch.save` wrote."""
    state = torch_file.load(file)
    if not isinstance(state, dict) or not all(
        isinstance(tensor, torch_file.Tensor) for tensor in state.values()
    ):
        raise WeightError(
            f"{file} does not hold weights by name; expected what torch.save(model.state_dict(), …)"
            " writes"
        )
    return {key: lambda tensor=tensor: as_float32(tensor.read()) for key, tensor in state.items()}


READERS: dict[str, Callable[[Path], dict[str, Reader]]] = {
    ".safetensors": read_safetensors,
    ".msgpack": read_msgpack,
    ".gguf": gguf_model.read_weights,
}


def as_float32(array: np.ndarray) -> np.ndarray:
    """The numbers as float32; of larger ones infinity, which is refused by its weight's name."""
    with np.errstate(over="ignore"):
        return np.asarray(array, np.float32)
