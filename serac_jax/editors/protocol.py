"""The protocol of an editor: a NamedTuple of pure functions, as in optax.

    params = editor.init(key, base)
    edited = editor.start(params, base, room)
    edited = editor.edit(params, edited, edits)  # any number of times: edits compose
    logits = editor.apply(params, edited, queries)

The model before and after an edit has the same type, so batches of edits, sequences of edits and
the unedited model need no special case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Bool, Float, Int, Scalar

from serac_jax.core.batch import EditBatch, Examples
from serac_jax.core.fields import Fields
from serac_jax.core.metrics import Score
from serac_jax.core.sharding import gather_fsdp
from serac_jax.core.types import Config, Edited, Params
from serac_jax.models import Load, Model


class Aux(NamedTuple):
    """What a loss reports besides its value.

    Attributes:
        metrics: scores to log, by name.
        overwrite: leaves of the parameters, by path, that the step renews instead of descending,
            such as running moments.
    """

    metrics: dict[str, Score]
    overwrite: dict[str, Array] | None = None


class Route(NamedTuple):
    """Where an editor with a table of edits sends each query.

    Attributes:
        index: the slot of the nearest edit.
        log_similarity: the log of how likely the query is in that edit's scope; 0 where both are
            the same words, −∞ where the table is empty.
        hit: whether that is above the editor's threshold, so that the edit answers.
    """

    index: Int[Array, " n"]  # pyright: ignore[reportIncompatibleMethodOverride]  (of tuple)
    log_similarity: Float[Array, " n"]
    hit: Bool[Array, " n"]


class Thresholds(NamedTuple):
    """How a score in [0, 1] becomes a decision; works on numbers and on arrays.

    Attributes:
        threshold: an edit answers where its score is larger.
        unsure_from: up to the threshold, a score above this one means that an edit might have
            answered.
    """

    threshold: float = 0.5
    unsure_from: float = 0.5

    def hit(self, score: Any) -> Any:
        """Whether the edit answers."""
        return score > self.threshold

    def unsure(self, score: Any) -> Any:
        """Whether the base model answers, although the edit might have."""
        return (score > self.unsure_from) & (score <= self.threshold)


class Editor(NamedTuple):
    """An editor as pure functions, as in optax.

    Attributes:
        init: (key, base) -> params. base: the frozen base model's parameters.
        start: (params, base, room) -> the model before any edit; `room` has as many rows as edits
            should fit, each as wide as an edit may be; its content is not read.
        edit: (params, edited, edits) -> the model with one more batch of edits. Raises TableFull
            where they do not fit.
        apply: (params, edited, queries) -> logits "n t v".
        generate: (params, edited, queries, steps) -> answers "n s", by greedy decoding.
        loss: (params, base, batch, key) -> (scalar, Aux); dropout, and new running moments, where a
            key is given. None for editors that learn nothing.
        groups: (params) -> for every leaf its group of the optimizer: "weights", "rates" (of edits)
            or "frozen".
        route: (params, edited, queries) -> Route, for editors with a table of edits, else None.
    """

    init: Callable[[Array, Any], Params]
    start: Callable[[Params, Any, Examples], Edited]
    edit: Callable[[Params, Edited, Examples], Edited]
    apply: Callable[[Params, Edited, Examples], Float[Array, "n t v"]]
    generate: Callable[[Params, Edited, Examples, int], Int[Array, "n s"]]
    loss: Callable[[Params, Any, EditBatch, Array | None], tuple[Scalar, Aux]] | None
    groups: Callable[[Params], Any]
    route: Callable[[Params, Edited, Examples], Route] | None


def on_gathered_weights(editor: Editor) -> Editor:
    """The editor, gathering what it learned and the model where the mesh's axis "fsdp" splits
    them."""

    def given(function: Callable[..., Any]) -> Callable[..., Any]:
        def on_gathered(params: Params, model: Any, *rest: Any) -> Any:
            return function(gather_fsdp(params), gather_fsdp(model), *rest)

        return on_gathered

    return editor._replace(
        start=given(editor.start),
        edit=given(editor.edit),
        apply=given(editor.apply),
        generate=given(editor.generate),
        loss=given(editor.loss) if editor.loss else None,
        route=given(editor.route) if editor.route else None,
    )


class Setup(NamedTuple):
    """What an editor is built from.

    Attributes:
        config: the run's config.
        base: the frozen base model.
        template: how edits and questions are put together for it, a name in
            `text.templates.TEMPLATES`.
        load: loads a model by name, as `models.load`.
        outside: (batches, rows) -> so many batches of out-of-scope training queries, leaves
            "m o …".
    """

    config: Config
    base: Model
    template: str
    load: Load
    outside: Callable[[int, int], Examples]


class Built(NamedTuple):
    """An editor, and what it brings along.

    Attributes:
        editor: the functions.
        parts: the networks that training changes, by their part of the parameters.
        scope_tokenizer: the tokenizer of its scope classifier, where it has one.
        judges: whether it reads questions out of scope behind edits, too.
    """

    editor: Editor
    parts: dict[str, Model]
    scope_tokenizer: Any = None
    judges: bool = False


@runtime_checkable
class EditorFolder(Protocol):
    """What the folder of an editor provides.

    FIELDS: its config section, which has the folder's name.
    build: raises UserError where the config asks for what cannot be built.
    """

    @property
    def FIELDS(self) -> Fields: ...  # noqa: N802 a constant of the module

    def build(self, setup: Setup) -> Built: ...
