"""The networks that an editor is made of, and what is built from them."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax

from serac_jax.core.types import Params
from serac_jax.editors.adapter_serac.judge import judge
from serac_jax.editors.serac import scope as scopes
from serac_jax.editors.serac.reader import Reader
from serac_jax.editors.serac.router import Router
from serac_jax.editors.serac.scope import Scope
from serac_jax.models import Model, hub
from serac_jax.serving.classifiers import Embedder, PairScorer
from serac_jax.serving.editor_spec import Spec
from serac_jax.serving.judging import JudgingReader
from serac_jax.text.encoder import Encoder
from serac_jax.text.templates import separated
from serac_jax.text.tokenizer import Tokenizer


class Part(NamedTuple):
    """A network with its parameters.

    adapter: a low-rank adapter: of the base model beside its parameters, of the scope classifier
        merged into them already.
    """

    model: Model
    params: Params
    adapter: Params | None = None


class Parts(NamedTuple):
    """What an editor is made of.

    networks: by the names of `spec.parts`; "base" is not among them where the caller brings the
        base model.
    tokenizer: of questions and answers.
    template: how edits and questions are put together for it, see `text.templates`.
    """

    spec: Spec
    networks: dict[str, Part]
    tokenizer: Tokenizer
    template: str = "plain"

    @property
    def embedding(self) -> Scope | None:
        """The embedding classifier, where there is one."""
        part = self.networks.get("scope")
        return scopes.embedding(part.model, self.spec.distance) if part else None

    @property
    def cross_attention(self) -> Scope | None:
        """The cross-attention classifier, where there is one."""
        if not (part := self.networks.get("rerank")):
            return None
        return scopes.cross_attention(part.model, separated(part.model.tokenizer).lead)

    @property
    def embedder(self) -> Embedder | None:
        """What gives the vectors of texts, where there is an embedding classifier."""
        if not (embedding := self.embedding):
            return None
        model, params, _ = self.networks["scope"]
        return Embedder(embedding, model, params, self.spec.distance, self.encoder("scope"))

    @property
    def pair_scorer(self) -> PairScorer | None:
        """What scores pairs of texts, where there is a cross-attention classifier."""
        if not (cross_attention := self.cross_attention):
            return None
        return PairScorer(cross_attention, self.networks["rerank"].params, self.encoder("rerank"))

    @property
    def router(self) -> Router:
        """The router, of the classifier whose scores decide."""
        scope = self.cross_attention or self.embedding
        assert scope, "editor_spec.read refuses an editor without a classifier"
        return Router(scope, self.spec.decision, self.spec.exact_match)

    @property
    def is_demonstration(self) -> bool:
        """Whether a model that answers is one of the package's own, which know a small made-up
        world only."""
        names = {"base", "counterfactual"} & self.networks.keys()
        return any(hub.SHIPPED in self.networks[name].model.folder.parents for name in names)

    @property
    def on_several_devices(self) -> bool:
        """Whether the models are split over devices."""
        leaves = [jax.tree.leaves(part.params)[0] for part in self.networks.values()]
        return any(len(leaf.sharding.device_set) > 1 for leaf in leaves)

    def reader(self, part: str) -> Reader:
        """How the model of a part reads edits and questions."""
        form = self.encoder().form
        return Reader(self.networks[part].model.stopping_at(form.stops), form.lead)

    @property
    def judging(self) -> JudgingReader | None:
        """The base model as a reader that judges, where it has an adapter for that."""
        spec, base = self.spec.judge, self.networks.get("base")
        if spec is None or base is None or base.adapter is None:
            return None
        encoder = replace(self.encoder(), template=spec.template)
        form = encoder.form
        judging = judge(Reader(base.model.stopping_at(form.stops), form.lead))
        return JudgingReader(judging, base.params, base.adapter, encoder, spec)

    def encoder(self, scope: str = "") -> Encoder:
        """How texts are read: by the base model, and by the classifier of the part `scope`."""
        return Encoder(
            self.tokenizer,
            self.networks[scope].model.tokenizer if scope else None,
            self.spec.question_widths,
            self.spec.answer_widths,
            classes=self.spec.answers,
            template=self.template,
        )
