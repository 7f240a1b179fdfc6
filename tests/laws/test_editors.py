"""Laws that hold for every editor."""

import itertools
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from serac_jax.core.batch import EditBatch, Layout, Tokens, take
from serac_jax.core.losses import nll
from serac_jax.editors import edit_table
from serac_jax.training import experiment, steps
from tests.causal_models import one_layer
from tests.tiers import fast
from tests.tiny import config_of, tiny

EDITORS = {
    "serac": {},
    "serac cross-attention": {"serac.cross_attention": True},
    "serac unsupervised": {"serac.supervised": False, "serac.bounded": True, "serac.cosine": True},
    "mend": {"editor": "mend", "mend.rank": 8, "mend.edit_lr": 1e-2},
    "retrieve and prompt": {
        "serac.freeze_counterfactual": True,
        "serac.heads": 2,
        "serac.square": False,
        "serac.freeze": 1,
        "serac.all_negatives": True,
    },
    "enn": {"editor": "enn"},
    "enn, rates only": {
        "editor": "enn",
        "enn.train_base": False,
        "enn.steps": 2,
        "enn.first_order": True,
    },
    "lookup": {"editor": "lookup", "lookup.threshold": 1e6},
    "fine-tuning": {
        "editor": "finetune",
        "finetune.optimizer": "sgd",
        "finetune.lr": 0.1,
        "finetune.steps": 4,
    },
    "fine-tuning of low rank": {
        "editor": "finetune",
        "finetune.lr": 1e-3,
        "finetune.steps": 4,
        "finetune.rank": 2,
        "finetune.locality_batches": 2,
    },
}
# Every editor on a causal base, and on the other causal networks one that reads edits, one that
# captures layers and one that adds to kernels.
ON_LLAMA = ["serac", "retrieve and prompt", "mend", "enn", "lookup", "fine-tuning"]
ON_OTHERS = ["serac", "mend", "fine-tuning of low rank"]
OTHERS = ["mistral", "qwen2", "qwen3", "gemma3", "gpt2", "gptj"]
NAMES = [
    *EDITORS,
    *(f"{name} on llama" for name in ON_LLAMA),
    *(f"{name} on {kind}" for kind in OTHERS for name in ON_OTHERS),
]
CHOSEN = ["serac", "retrieve and prompt", "mend", "enn", "lookup", "fine-tuning", "mend on llama"]
# What changes weights generates as the base model does.
GENERATING = ["serac", "retrieve and prompt", "lookup", "mend on llama"]
# Laws that an editor does not keep, by its definition.
MIXES = {"serac unsupervised": "it answers by a mixture of both models' probabilities"}
READS_UNTAUGHT = {
    "retrieve and prompt": "its frozen base model reads the edit, and nothing teaches it to follow"
}


def fields_of(name):
    """The fields of an editor, on one of the causal networks where the name says so."""
    editor, _, kind = name.partition(" on ")
    if not kind:
        return EDITORS[editor]
    base = one_layer(kind)
    return EDITORS[editor] | {"base.name": base, "serac.counterfactual": base, "inner": ()}


def editor_of(case):
    """Its name in EDITORS."""
    return case.name.partition(" on ")[0]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


class Case:
    """An editor with parameters, and a batch of its task."""

    name = ""  # in NAMES

    def __init__(self, fields, cache, mesh=(1, 1, 1)):
        config = config_of(
            **tiny() | fields | {"mesh.data": mesh[0], "mesh.fsdp": mesh[1], "mesh.model": mesh[2]}
        )
        self.config, self.run = config, experiment.build(config, cache)
        self.editor, self.base = self.run.editor, self.run.base_params
        self.params = steps.init_params(self.editor, self.base, 0, self.run.mesh)
        self.batch: EditBatch = next(iter(self.run.task.batches("train", 4, True)))
        self.apply = jax.jit(self.editor.apply)
        self.edit = jax.jit(self.editor.edit)
        self.route = jax.jit(self.editor.route) if self.editor.route else None
        self.loss = (
            jax.jit(jax.value_and_grad(self.editor.loss, has_aux=True))
            if self.editor.loss
            else None
        )

    def start(self, capacity=6):
        room = jax.tree.map(
            lambda leaf: np.zeros((capacity, *leaf.shape[1:]), leaf.dtype), self.batch.edits
        )
        return jax.jit(self.editor.start)(self.params, self.base, room)


@pytest.fixture(scope="module", params=fast(NAMES, CHOSEN))
def case(request, cache):
    made = Case(fields_of(request.param), cache)
    made.name = request.param
    return made


def certain(case):
    """The same editor with a scope classifier, if it has one, that lets everything in, so that
    edits are seen in the answers."""
    if "scope" not in case.params:
        return case.params
    scope = jax.tree.map(jnp.zeros_like, case.params["scope"])
    if "head" in scope:
        scope["head"]["bias"] = jnp.array([5.0, -5.0])
    return case.params | {"scope": scope}


def close(a, b, tolerance=1e-5):
    a, b = np.asarray(a), np.asarray(b)
    return np.abs(a - b).max() <= tolerance * np.abs(b).max()


def test_before_any_edit_the_answers_are_the_base_models_bit_for_bit(case):
    logits = case.apply(case.params, case.start(), case.batch.inside)
    base = jax.jit(case.run.base.logits)(case.base, case.batch.inside)
    assert np.array_equal(logits, base)


def test_edits_compose(case):
    """Edits one after the other: in a memory, the same as all at once; in the weights, each moves
    them further."""
    params, edits = certain(case), case.batch.edits
    answers, edited = [case.apply(params, case.start(), case.batch.inside)], case.start()
    for row in range(4):
        edited = case.edit(params, edited, take(edits, jnp.array([row])))
        answers.append(case.apply(params, edited, case.batch.inside))
    together = case.apply(params, case.edit(params, case.start(), edits), case.batch.inside)
    assert not np.array_equal(together, answers[0])
    if case.editor.route:
        assert close(answers[-1], together)
    else:
        assert not any(
            np.array_equal(one, next_one) for one, next_one in itertools.pairwise(answers)
        )


def test_edits_of_weight_0_change_nothing(case):
    params, edits = certain(case), case.batch.edits
    none = edits._replace(weight=jnp.zeros_like(edits.weight))
    edited = case.edit(params, case.start(), edits)
    again = case.edit(params, edited, none)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), edited, again))


def widened(tokens, by):
    return Tokens(*(jnp.pad(leaf, ((0, 0), (0, by))) for leaf in tokens[:2]))


def test_answers_do_not_depend_on_padding(case):
    params, queries = certain(case), case.batch.inside
    edited = case.edit(params, case.start(), case.batch.edits)
    wide = queries._replace(
        inputs=widened(queries.inputs, 5),
        scope=widened(queries.scope, 3),
        labels=jnp.pad(queries.labels, ((0, 0), (0, 2))),
        weight=jnp.pad(queries.weight, ((0, 0), (0, 2))),
    )
    width = queries.labels.shape[1]
    assert close(case.apply(params, edited, wide)[:, :width], case.apply(params, edited, queries))


def test_a_full_memory_refuses_and_names_its_capacity(case):
    """Editors with a memory; edits in the weights have no end."""
    if not case.editor.route:
        return
    edits = jax.tree.map(jnp.asarray, case.batch.edits)
    edited = case.editor.edit(case.params, case.start(capacity=6), edits)
    with pytest.raises(edit_table.TableFull, match="capacity 6"):
        case.editor.edit(case.params, edited, edits)


def test_an_edit_answers_its_own_words(case):
    """Whatever the scope classifier says of them, and whichever other edits are stored."""
    if not case.editor.route:
        return
    edits = case.batch.edits
    edited = case.edit(case.params, case.start(), edits)
    for turned in (np.arange(4), np.array([2, 0, 3, 1])):
        others = take(edits, turned)  # what the classifier reads is another edit's
        asked = edits._replace(inputs=others.inputs, scope=others.scope)
        found = case.route(case.params, edited, asked)
        assert found.index.tolist() == [0, 1, 2, 3]
        assert found.log_similarity.tolist() == [0.0] * 4
        assert found.hit.all()
    asked, params = edits._replace(scope=others.scope), certain(case)
    logits = case.apply(case.params, edited, asked)
    for row in range(4):  # as if it were the only edit
        alone = case.edit(params, case.start(), take(edits, jnp.array([row])))
        assert close(logits[row], case.apply(params, alone, asked)[row])
    assert not np.array_equal(logits, case.apply(params, case.start(), asked))


@pytest.mark.parametrize("case", fast(NAMES, ["serac", "lookup"]), indirect=True)
def test_a_question_that_no_edit_answers_gets_the_base_models_logits_bit_for_bit(case, cache):
    """With a threshold that some questions pass and others do not."""
    if not case.route or editor_of(case) in MIXES:
        return
    edited = case.edit(case.params, case.start(), case.batch.edits)
    sides = [
        side._replace(words=np.zeros_like(side.words))  # no edit's own
        for side in (case.batch.inside, case.batch.outside)
    ]
    near = [case.route(case.params, edited, side).log_similarity for side in sides]
    narrow = Case(fields_of(case.name) | threshold(case, float(np.median(near))), cache)
    hits = 0
    for side in sides:
        hit = np.asarray(narrow.route(case.params, edited, side).hit)
        logits = narrow.apply(case.params, edited, side)
        same = (logits == jax.jit(case.run.base.logits)(case.base, side)).all((1, 2))
        assert np.array_equal(same, ~hit)
        hits += hit.sum()
    assert hits == 4


def threshold(case, log_similarity):
    """The field of a threshold that questions of a larger similarity pass."""
    if case.config.editor == "lookup":  # a similarity is 2^(−distance/threshold)
        return {"lookup.threshold": -log_similarity / math.log(2) * case.config.lookup.threshold}
    return {"serac.threshold": math.exp(log_similarity)}


def test_editing_traces_once(case):
    traced = []

    def edit(params, edited, edits):
        traced.append(None)
        return case.editor.edit(params, edited, edits)

    edit = jax.jit(edit)
    edited = case.start(capacity=12)
    for _ in range(3):
        edited = edit(case.params, edited, case.batch.edits)
    assert len(traced) == 1


def descended(case, steps, length):
    """Parameters after gradient descent on one batch, and the losses before each step."""
    params, losses = case.params, []
    for _ in range(steps):
        (value, _), gradient = case.loss(params, case.base, case.batch, None)
        step = length / optax.tree.norm(gradient)
        params = jax.tree.map(lambda leaf, slope, step=step: leaf - step * slope, params, gradient)
        losses.append(float(value))
    return params, losses


def test_training_lowers_the_loss(case):
    """Of editors that learn, in short steps."""
    if case.loss:
        losses = descended(case, 6, 0.01)[1]
        assert losses[-1] < losses[0]


def test_an_edit_raises_the_likelihood_of_its_answer(case):
    """Where a model reads the edit, after training: it has to learn to follow what it reads."""
    if editor_of(case) in READS_UNTAUGHT:
        return
    edits = jax.tree.map(jnp.asarray, case.batch.edits)

    def surprise(params, edited):
        return nll(case.apply(params, edited, edits), edits.labels, edits.weight)

    def told(params):
        return surprise(params, case.edit(params, case.start(), edits))

    params = case.params
    if case.route and case.loss:
        params = descended(case, 20, 0.05)[0]
        assert told(params) < told(case.params)
    assert told(params) < surprise(params, case.start())


@pytest.mark.parametrize("case", fast(NAMES, GENERATING), indirect=True)
def test_generate_says_the_argmax_of_apply(case):
    """Token by token, before and after edits."""
    if editor_of(case) in MIXES:
        return
    params, queries = certain(case), case.batch.inside
    generate = jax.jit(case.editor.generate, static_argnums=3)
    for edited in (case.start(), case.edit(params, case.start(), case.batch.edits)):
        ids = generate(params, edited, queries, queries.labels.shape[1])
        said = case.apply(params, edited, queries._replace(labels=ids)).argmax(-1)
        ended = np.isin(ids, case.run.base.ends).cumsum(-1) > 0
        spoken = np.pad(~ended, ((0, 0), (1, 0)), constant_values=True)[:, :-1]  # the end, too
        assert np.array_equal(said[spoken], ids[spoken])


def test_the_content_of_padding_rows_does_not_matter(case):
    """Rows of weight 0 in edits and queries may hold anything: loss and gradient are the same."""
    if not case.loss:
        return
    rng = np.random.default_rng(0)

    def scrambled(side, rows):
        silent = side._replace(weight=side.weight * rows[:, None])
        noise = jax.tree.map(
            lambda leaf: rng.permutation(leaf.reshape(-1)).reshape(leaf.shape), silent
        )
        kept = jax.tree.map(
            lambda leaf, other: np.where(rows[:, None] > 0, leaf, other), silent, noise
        )
        return silent, kept._replace(weight=silent.weight)

    rows = np.array([1.0, 1.0, 1.0, 0.0], np.float32)
    sides = [
        scrambled(side, rows) for side in (case.batch.edits, case.batch.inside, case.batch.outside)
    ]
    results = []
    for number in (0, 1):
        batch = case.batch._replace(
            edits=sides[0][number], inside=sides[1][number], outside=sides[2][number]
        )
        results.append(case.loss(case.params, case.base, batch, None))
    ((value, _), gradient), ((again, _), same) = results
    assert close(again, value)
    assert all(
        np.abs(a - b).max() <= 1e-5 * max(np.abs(b).max(), 1e-3)
        for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(gradient), strict=True)
    )


MESHES = [
    ("serac", (2, 2, 2)),
    ("serac", (1, 1, 2)),
    ("retrieve and prompt", (2, 1, 4)),
    ("mend", (8, 1, 1)),
    ("enn", (1, 8, 1)),
    ("mend on llama", (2, 2, 2)),
    ("serac on gemma3", (2, 1, 4)),
    ("mend on gpt2", (1, 2, 4)),
    ("mend on gptj", (1, 1, 2)),
]


@pytest.mark.slow
@pytest.mark.parametrize("split", MESHES)
def test_many_devices_equal_1(cache, split):
    """Loss and gradient of a batch that is split over rows, and filled up where it has too few, by
    a model that is split over its width.

    Where rows are not split, real tokens only are computed, else padding too.
    """
    (name, mesh), results = split, []
    for shape in ((1, 1, 1), mesh):
        case = Case(fields_of(name), cache, shape)
        placed = steps.shard_batch(
            case.batch._replace(layout=replace(case.batch.layout, **fills(case.batch, 0))),
            case.run.mesh,
        )
        assert (
            (placed.layout.text_fill is None)
            == (placed.layout.label_fill is None)
            == (shape[:2] != (1, 1))
        )
        (value, _), gradient = case.loss(case.params, case.base, placed, None)
        assert len(jax.tree.leaves(case.params)[0].sharding.device_set) == math.prod(shape)
        results.append((float(value), gradient))
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-5)
    one, eight = (jax.tree.leaves(jax.device_get(gradient)) for _, gradient in results)
    largest = max(
        np.abs(leaf).max() for leaf in one
    )  # some leaves, such as biases of keys, have no gradient but rounding
    assert all(np.abs(a - b).max() <= 1e-5 * largest for a, b in zip(eight, one, strict=True))


@pytest.mark.parametrize("name", fast(["lookup", "fine-tuning"], ["lookup"]))
def test_edits_on_8_devices_equal_1(cache, name):
    answers = []
    for shape in ((1, 1, 1), (2, 2, 2)):
        case = Case(fields_of(name), cache, shape)
        placed = steps.shard_batch(case.batch, case.run.mesh)
        answers.append(
            case.apply(
                case.params, case.edit(case.params, case.start(), placed.edits), placed.inside
            )
        )
    assert close(*answers)


def fills(batch, spare):
    """The largest share of any text that is real tokens, of an edit and a query together, and of
    labels; `spare`: room for so many more in a row."""
    texts = [
        tokens
        for queries in (batch.edits, batch.inside, batch.outside)
        for tokens in (queries.inputs, queries.scope)
    ]

    def most(masks):
        return float(min(max((mask.sum(-1).max() + spare) / mask.shape[1] for mask in masks), 1))

    labels = int((batch.inside.weight > 0).sum()) + spare
    return {
        "text_fill": most([tokens.mask for tokens in texts if tokens.mask.size]),
        "context_fill": 1.0,
        "label_fill": labels / batch.inside.weight.size,
    }


@pytest.mark.parametrize("spare", fast([None, 0, 3], [3]))
@pytest.mark.parametrize(
    "case", fast(["serac", "serac cross-attention", "mend"], ["serac", "mend"]), indirect=True
)
def test_what_is_known_of_a_batch_only_saves_work(case, spare):
    """Rows cut where padding begins, questions read once that several answers share, only real
    tokens computed: the same loss, metrics and gradient."""
    twice = take(case.batch.inside, jnp.array([0, 0, 1, 1]))
    of, answers = case.batch.edit_of[np.array([0, 0, 1, 1])], case.batch.inside
    plain = case.batch._replace(
        inside=twice._replace(labels=answers.labels, weight=answers.weight),
        edit_of=of,
        layout=Layout(),
    )
    edits, asked = case.batch.edits, (twice, case.batch.outside)
    context = int(
        edits.prefix.mask.sum(-1).max()
        + max(queries.inputs.mask.sum(-1).max() for queries in asked)
    )
    pair = int(
        edits.scope.mask.sum(-1).max() + max(queries.scope.mask.sum(-1).max() for queries in asked)
    )
    layout = Layout(max(context, pair), 2, **({} if spare is None else fills(plain, spare)))
    (value, aux), gradient = case.loss(case.params, case.base, plain, None)
    (less, told), same = case.loss(case.params, case.base, plain._replace(layout=layout), None)
    for name, score in aux.metrics.items():  # a KL may be no more than rounding
        np.testing.assert_allclose(told.metrics[name].value, score.value, rtol=1e-5, atol=1e-7)
    assert less == pytest.approx(float(value), rel=1e-5)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient))
    assert all(
        np.abs(a - b).max() <= 1e-5 * largest
        for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(gradient), strict=True)
    )
