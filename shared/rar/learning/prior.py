"""What a static router expects, before anything was learned here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rar.errors import ScoreError
from rar.linear import Array
from rar.routers.base import EmbeddingRouter, LearnedRouter, StaticRouter
from rar.values import Vector


@dataclass(frozen=True)
class Prior:
    """A static router as a prior of gaps.

    Args:
        router: Where it was fitted to outcomes, its score says how much better the strong answer is on average. The
            score of any other is taken for the chance that the strong model is needed, of which nothing is sure.
        embedder_id: Of the embeddings that this package's router has anyway.
    """

    router: StaticRouter
    embedder_id: str = ""

    @property
    def rows(self) -> int:
        """How many outcomes it was fitted to; 0 where that is not known."""
        return int(self.router.facts.get("rows", 0)) if isinstance(self.router, LearnedRouter) else 0

    def scores(self, texts: Sequence[str], vectors: Vector | None = None) -> Array:
        """The router's scores, shape `(n,)`; `vectors` spare it embedding the texts."""
        if vectors is not None and isinstance(self.router, EmbeddingRouter):
            return self.router.score(texts, vectors if self.router.embedder.id == self.embedder_id else None)
        scores = np.asarray(self.router.score(texts), np.float64)
        if np.isnan(scores).any():
            raise ScoreError(type(self.router).__name__)
        return scores

    def gaps(self, scores: Array) -> Array:
        """The expected gaps that scores stand for; of a router that gives ties to the weak model, no less than they."""
        halves = isinstance(self.router, LearnedRouter) and self.router.tie == 0.5
        return 2.0 * scores - 1.0 if halves else scores
