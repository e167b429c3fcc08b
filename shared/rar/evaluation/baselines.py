"""What a router has to beat: simple scores, each a function of a table that was seen and one that is asked.

A score is high where the strong model is rather needed; only its order counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from rar.errors import TrainingDataError
from rar.evaluation.embeddings import KnownVectors
from rar.learning.policy import PaperPolicy
from rar.linear import Array
from rar.outcomes import Outcomes
from rar.routers import KNNRouter, LearnedRouter, StaticRouter, TfidfRouter

Scorer: TypeAlias = Callable[
    [Outcomes, Outcomes], Array
]  # (seen with outcomes, asked) -> scores of what is asked, shape (n,)


def length(_: Outcomes, asked: Outcomes) -> Array:
    """The text's length in characters; on MMLU it equals RouteLLM's best router."""
    return np.array([len(text) for text in asked.texts], np.float64)


def group_prior(seen: Outcomes, asked: Outcomes, prior_weight: float = 5.0) -> Array:
    """The mean gap of the question's group, drawn towards the overall mean by `prior_weight` questions."""
    assert seen.groups is not None
    assert asked.groups is not None
    names, index = np.unique(seen.groups, return_inverse=True)
    overall = float(seen.gap.mean())
    means = (np.bincount(index, seen.gap) + prior_weight * overall) / (np.bincount(index) + prior_weight)
    known = dict(zip(names.tolist(), means.tolist(), strict=True))
    return np.array([known.get(group, overall) for group in asked.groups])


def paper_rule(seen: Outcomes, asked: Outcomes) -> Array:
    """The published rule of RAR (arXiv 2411.09837): the verdict on the nearest question where it is near enough."""
    assert seen.vectors is not None
    assert asked.vectors is not None
    scores = np.ones(len(asked))
    for start in range(0, len(asked), 1_024):
        similarity = asked.vectors[start : start + 1_024] @ seen.vectors.T
        nearest = similarity.argmax(1)
        near = similarity.max(1) >= PaperPolicy().similarity
        scores[start : start + 1_024] = ~near | (seen.gap[nearest] > 0.0)
    return scores


def nearest_neighbours(seen: Outcomes, asked: Outcomes) -> Array:
    """`KNNRouter`, on vectors that are known."""
    return learned(KNNRouter(embedder=KnownVectors(seen, asked)), _within_one(seen), asked)


def tfidf_ridge(seen: Outcomes, asked: Outcomes) -> Array:
    """`TfidfRouter`."""
    return learned(TfidfRouter(), _within_one(seen), asked)


def learned(
    router: LearnedRouter,
    seen: Outcomes,
    asked: Outcomes,
    told: Callable[[TrainingDataError], None] | None = None,
) -> Array:
    """The scores of a router that is fitted to what is seen; equal ones where nothing is to be learned of that.

    Args:
        told: Of why nothing could be learned.
    """
    try:
        return scored_by(router.fit(seen), asked)
    except TrainingDataError as error:
        if told is not None:
            told(error)
        return np.zeros(len(asked))


def _within_one(seen: Outcomes) -> Outcomes:
    """With gaps of at most 1, which routers take for sure wins, so that they tell larger ones apart, too."""
    largest = float(np.abs(seen.gap).max())
    return seen if largest <= 1.0 else replace(seen, scores=seen.scores / largest)


@dataclass(frozen=True)
class RouterScorer:
    """A static router as a scorer. What is seen is not shown to it: it was fitted before."""

    router: StaticRouter

    def __call__(self, seen: Outcomes, asked: Outcomes) -> Array:
        return scored_by(self.router, asked)


def of_static_router(router: StaticRouter) -> Scorer:
    """A static router's score, as `RouterScorer`."""
    return RouterScorer(router)


def scored_by(router: StaticRouter, asked: Outcomes) -> Array:
    """The router's scores of a table, whose vectors it gets where they are by its own embedder."""
    own = getattr(router, "embedder", None)
    if isinstance(router, LearnedRouter) and own is not None and own.id == asked.embedder_id:
        return router.score(asked.texts, asked.vectors)
    return np.asarray(router.score(asked.texts), np.float64)


@dataclass(frozen=True)
class Baseline:
    """A scorer by the name under which it is printed.

    Args:
        growth: By what factor what was seen must grow before an online version is fitted anew.
    """

    name: str
    scorer: Scorer
    growth: float = 1.25

    def prequential(self, table: Outcomes, start: int = 30) -> Array:
        """Its scores along a stream: fitted to the questions before, whose outcomes it all sees; at first infinite."""
        scores = np.full(len(table), np.inf)
        seen = start
        while seen < len(table):
            until = min(max(int(seen * self.growth), seen + 1), len(table))
            scores[seen:until] = self.scorer(table.take(range(seen)), table.take(range(seen, until)))
            seen = until
        return scores


def baselines(table: Outcomes) -> list[Baseline]:
    """Those that this table allows."""
    found = [Baseline("prompt length", length)]
    if table.groups is not None:
        found.append(Baseline("group prior", group_prior, 1.02))
    found.append(Baseline("TF-IDF ridge", tfidf_ridge))
    if table.vectors is not None:
        found.append(Baseline("k-nearest neighbours", nearest_neighbours, 1.05))
    return found
