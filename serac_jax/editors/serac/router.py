"""The router: which stored edit, if any, a question falls under.

Training, evaluation and the service use the same object, so that what is scored is what answers.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Float

from serac_jax.core.batch import Examples
from serac_jax.core.types import Params
from serac_jax.editors import edit_table
from serac_jax.editors.edit_table import EditTable
from serac_jax.editors.protocol import Route, Thresholds
from serac_jax.editors.serac.scope import Scope


class Router(NamedTuple):
    """A scope classifier and how its scores become a decision.

    Attributes:
        scope: the classifier, whose log-similarities are the logs of scores.
        thresholds: the scores above which an edit answers, or might have.
        exact_match: an edit answers its own words, whatever the classifier says of them.
    """

    scope: Scope
    thresholds: Thresholds = Thresholds()
    exact_match: bool = True

    def keys(self, params: Params, edits: Examples) -> Float[Array, "k d"]:
        """What the table keeps of edits, to compare queries with."""
        return self.scope.keys(params, edits)

    def similarities(
        self, params: Params, table: EditTable, queries: Examples, key: Array | None = None
    ) -> Float[Array, "n c"]:
        """The classifier's log-similarity of every query and every slot."""
        return self.scope.table(
            params, table, self.scope.queries(params, queries, key), queries, key
        )

    def route(
        self, params: Params, table: EditTable, queries: Examples, key: Array | None = None
    ) -> Route:
        """The nearest edit of each query, and whether it answers."""
        similarities = self.similarities(params, table, queries, key)
        return edit_table.route(table, queries, similarities, self.thresholds, self.exact_match)
