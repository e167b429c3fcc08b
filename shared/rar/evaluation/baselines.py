"""What a router has to beat: simple scores, each a function of a table that was seen and one that is asked.

A score is high where the strong model is rather needed; only its order counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias
from zlib import crc32

import numpy as np
import numpy.typing as npt

from rar.learning.policy import PaperPolicy
from rar.linear import Array, conjugate_gradients
from rar.outcomes import Outcomes
from rar.routers import LearnedRouter, StaticRouter

Scorer: TypeAlias = Callable[
    [Outcomes, Outcomes], Array
]  # (seen with outcomes, asked) -> scores of what is asked, shape (n,)

_BUCKETS = 2**20
_WORD = re.compile(r"\w+")


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


def nearest_neighbours(seen: Outcomes, asked: Outcomes, k: int = 40) -> Array:
    """The mean gap of the `k` nearest questions by cosine."""
    assert seen.vectors is not None
    assert asked.vectors is not None
    k = min(k, len(seen))
    scores = np.empty(len(asked))
    for start in range(0, len(asked), 1_024):
        similarity = asked.vectors[start : start + 1_024] @ seen.vectors.T
        nearest = np.argpartition(similarity, -k, axis=1)[:, -k:]
        scores[start : start + 1_024] = seen.gap[nearest].mean(1)
    return scores


def tfidf_ridge(seen: Outcomes, asked: Outcomes, penalty: float = 3.0) -> Array:
    """Ridge regression of the gap on TF-IDF of words and word pairs (hashed), solved by conjugate gradients."""
    rows, terms, counts = _term_counts(seen.texts)
    used, terms = np.unique(terms, return_inverse=True)
    if not len(used):
        return np.zeros(len(asked))
    idf = np.log((1.0 + len(seen)) / (1.0 + np.bincount(terms))) + 1.0  # smoothed as in scikit-learn
    values = _normed(rows, counts * idf[terms], len(seen))
    target = seen.gap - seen.gap.mean()

    def kernel(dual: Array) -> Array:  # X Xᵀ + penalty I
        weights = _sums(terms, values * dual[rows], len(used))
        return _sums(rows, values * weights[terms], len(seen)) + penalty * dual

    dual = conjugate_gradients(kernel, target, np.zeros_like(target), steps=50)
    weights = _sums(terms, values * dual[rows], len(used))

    rows, terms, counts = _term_counts(asked.texts)
    place = np.searchsorted(used, terms).clip(max=len(used) - 1)
    known = used[place] == terms
    rows, place, counts = rows[known], place[known], counts[known]
    values = _normed(rows, counts * idf[place], len(asked))
    return _sums(rows, values * weights[place], len(asked))


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


# --- terms ----------------------------------------------------------------------------------------------------------


def _term_counts(texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Array]:
    """Row, term and damped count of every term of every text."""
    found = [_terms(text) for text in texts]
    rows = np.repeat(np.arange(len(texts)), [len(terms) for terms, _ in found])
    return rows, np.concatenate([terms for terms, _ in found]), np.concatenate([counts for _, counts in found])


@lru_cache(maxsize=2**16)
def _terms(text: str) -> tuple[npt.NDArray[np.int64], Array]:
    words = _WORD.findall(text.lower())
    counts: Mapping[int, int] = Counter(
        crc32(term.encode("utf-8", "surrogatepass")) % _BUCKETS for term in [*words, *map(" ".join, pairwise(words))]
    )
    terms = np.fromiter(counts, np.int64, len(counts))
    return terms, 1.0 + np.log(np.fromiter(counts.values(), np.float64, len(counts)))


def _normed(rows: npt.NDArray[np.int64], values: Array, n: int) -> Array:
    """The values of each row scaled to a unit vector."""
    norms = np.sqrt(_sums(rows, values * values, n))
    scaled: Array = values / norms[rows]
    return scaled


def _sums(places: npt.NDArray[np.int64], values: Array, n: int) -> Array:
    return np.asarray(np.bincount(places, values, n), np.float64)
