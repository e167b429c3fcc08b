"""The learned score: how much better the strong model's answer is expected to be, from the text and its embedding.

Its label is the *gap*, strong less weak quality: strong better 1, tie 0, weak better -1 (or any score between). On
recorded outcomes a label "the weak answer is wrong" ranks requests far worse, since the strong model may be wrong there
too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from rar.evidence import USUAL_SCATTER
from rar.learning.company import Company
from rar.learning.crossfit import Curve, calibration
from rar.learning.features import Features
from rar.learning.signs import Scale
from rar.linear import BUCKETS, Array, Design, ridge, terms
from rar.values import Vector

_SAMPLE = 1_000  # requests that are looked at for how unlike they are
_IMAGINED = 1.0  # requests that scatter as usual, beside those that were judged
# What one request counts for at most in a fit, whose level alone follows the true weights: many times the luck of one
# is learned by heart.
_MOST_PULL = 5.0
PRIOR_SUPPORT = 100  # requests that a fitted static router's level counts for: it was learned from others


@dataclass(frozen=True, slots=True)
class Guess:
    """What a model says of one request.

    Args:
        gap: The expected gap.
        unsure: Its standard error: larger, the less the request is like those that the model was fitted to. How much
            single gaps scatter is no part of it.
    """

    gap: float
    unsure: float


@dataclass(frozen=True, eq=False)
class GapModel:
    """Ridge regression of the gap on hashed TF-IDF of words and word pairs, and on `Features`.

    What its parts say counts as far as it proved right on requests that were left out of a fit, so that little is
    expected of none because of luck.

    Immutable: any thread may ask it. `examples` is how many requests it was fitted to, `support` how many of equal
    weight would say as much, `trust` which share of the prior it started from, `scatter` the variance of the gaps.
    `reach` is by how much the signs of drafts move what is expected, a standard deviation; 0 where it knows none.
    """

    examples: int
    support: float
    mean: float
    idf: npt.NDArray[np.float32] = field(repr=False)
    words: npt.NDArray[np.float32] = field(repr=False)  # weight of each bucket
    features: Features = field(repr=False)
    dense: npt.NDArray[np.float32] = field(repr=False)  # their weights
    curve: Curve = field(repr=False)  # of what these add to the mean
    company: Company = field(repr=False)
    trust: float = 0.0
    scatter: float = 0.25
    scale: Scale | None = field(default=None, repr=False)  # of signs; None: of requests alone
    reach: float = 0.0

    def expect(
        self, text: str | None, embedding: Vector, prior: float | None = None, signs: Sequence[float] | None = None
    ) -> Guess:
        """The expected gap of one request; texts that are not stored count by their embedding alone.

        Args:
            signs: Of the draft at hand (`rar.learning.signs`), where it was fitted to such; None: usual ones.
        """
        given = prior or 0.0
        columns = self.features([text], embedding[None], np.array([given]))[0]
        more = float(columns @ self.dense[: len(columns)])
        if self.scale is not None and signs is not None:
            more += float(self.scale(np.asarray(signs, np.float64)) @ self.dense[len(columns) :])
        if text is not None:
            places, counts = terms(text)
            values = counts * self.idf[places]
            norm = math.sqrt(float(values @ values))
            if norm:
                more += float(values @ self.words[places]) / norm
        gap = self.mean + self.curve(more) + self.trust * given
        strange = self.company.strangeness(embedding)
        return Guess(gap, math.sqrt(self.scatter * (strange**2 + 1.0 / self.support)))


def fit(
    texts: Sequence[str | None],
    embeddings: Vector,
    gaps: Array,
    weights: Array,
    priors: Array | None = None,
    *,
    trust: float = 0.0,
    penalty: float | None = None,
    signs: Array | None = None,
) -> GapModel:
    """Fit by conjugate gradients on the weighted normal equations.

    Args:
        embeddings: Shape `(n, dim)`.
        gaps, weights: Shape `(n,)`; a request that stands for several has a weight above 1.
        priors: The gaps that a static router expects, shape `(n,)`: how far it is trusted is learned with the rest,
            starting from `trust`.
        penalty: Of squared weights; None: 5, and one for each 1,000 requests.
        signs: Of the drafts whose gaps these are, shape `(n, rar.learning.signs.SIZE)`; None: requests alone count.
    """
    penalty = 5.0 + len(texts) / 1_000.0 if penalty is None else penalty
    given, features = np.zeros(len(texts)) if priors is None else priors, Features.of(texts, embeddings)
    columns, starts, scale = _with_signs(features(texts, embeddings, given), features.starts, signs)
    design = Design.of(texts, columns)
    spread = scatter(gaps, weights, unlike(embeddings, weights))
    gaps = gaps - trust * given
    seen = float(weights.sum() ** 2 / (weights @ weights))
    support = seen + trust * PRIOR_SUPPORT
    mean = seen / support * float(np.average(gaps, weights=weights))
    pulls = np.minimum(weights, _MOST_PULL)
    solved = ridge(design, gaps - mean, pulls, penalty)
    found = calibration(design, gaps - mean, weights, pulls, penalty, starts, solved, wary=scale is not None)
    # The penalty leaves the level a little off, and at the level the threshold is steered.
    mean += seen / support * found.level
    believed, company = (solved * found.factors).astype(np.float32), Company.of(embeddings)
    idf, words, dense = design.idf.astype(np.float32), believed[:BUCKETS], believed[BUCKETS:]
    fitted = GapModel(len(texts), support, mean, idf, words, features, dense, found.curve, company, trust, spread)
    hoped = (solved * found.hoped)[BUCKETS:]
    return fitted if scale is None else _reaching(fitted, scale, columns, hoped, starts[-1])


def _with_signs(
    columns: npt.NDArray[np.float32], starts: tuple[int, ...], signs: Array | None
) -> tuple[npt.NDArray[np.float32], tuple[int, ...], Scale | None]:
    """The columns of a fit with those of signs, which are a part of their own, and how signs are scaled."""
    if signs is None:
        return columns, starts, None
    scale = Scale.of(signs)
    return np.concatenate([columns, scale(signs)], 1), (*starts, columns.shape[1]), scale


def _reaching(fitted: GapModel, scale: Scale, columns: npt.NDArray[np.float32], weights: Array, start: int) -> GapModel:
    """The model that knows signs, whose columns begin at `start`, and by how much those move what is expected."""
    return replace(fitted, scale=scale, reach=float(np.std(columns[:, start:] @ weights[start:])))


def unlike(embeddings: Vector, weights: Array) -> float:
    """How many requests that have nothing in common would say as much: the participation ratio of the embeddings.

    One for copies of a request, however many: nobody makes a model look calm by asking the same again and again.

    Args:
        embeddings: Shape `(n, dim)`, unit norm.
        weights: Shape `(n,)`.
    """
    weights = weights[:_SAMPLE]
    rows = embeddings[:_SAMPLE] * np.sqrt(weights, dtype=np.float32)[:, None]
    alike = float(np.square(rows.T @ rows, dtype=np.float64).sum())
    return float(weights.sum()) ** 2 / alike if alike else 1.0


def scatter(gaps: Array, weights: Array, different: float) -> float:
    """Weighted variance of gaps, and of some more that scatter as usual: few, or such as are alike, prove no calm.

    Args:
        different: How many unlike requests the gaps are of. Their geometric mean with all requests counts, since the
            ratio is bounded by how many subjects there are.
    """
    squares = (gaps - np.average(gaps, weights=weights)) ** 2
    found, count = float(np.average(squares, weights=weights)), math.sqrt(different * len(gaps))
    return (found * count + USUAL_SCATTER * _IMAGINED) / (count + _IMAGINED)
