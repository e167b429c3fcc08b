"""When a near neighbour's verdict may decide a request that is worded otherwise. Pure.

After vCache (arXiv 2502.03771): no similarity is near enough everywhere, so how near is near enough is learned from
judged outcomes. A pair of requests is described by its similarity, by how its words differ, and by its *record*: how
often judged requests around it agreed with such a verdict. A logistic curve makes one number of these. The cut is the
lowest one above which judged pairs disagreed so seldom that the upper end of an interval is below the stated error.
Each refit moves both.
All of it is derived from the experiences that a memory holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from rar.evidence import Alike, Evidence, Standing
from rar.learning.origins import proven_for_all, proven_in
from rar.learning.verdicts import of_pair, works
from rar.linear import Array
from rar.values import Match, Tally, Vector
from rar.wording import Difference, Words, difference, words_of

NEAR: Final = 0.7  # cosine below which nothing is taken for the same question in other words
_AROUND: Final = 16  # judged requests that make a record
_LOOKED_AT: Final = 4  # of them that may lend their verdict: the nearest one that nothing forbids
_SAMPLE: Final = 1_000  # newest requests that a bound is learned from
_AT_ONCE: Final = 128  # of them that are looked at at once
SHARPNESS: Final = 8  # power of a cosine that says how much a judged request counts for another
_DOUBT: Final = (0.5, 0.5)  # requests that agree and disagree, beside those that were judged
_FAINT: Final = 0.05  # weight of what was judged around it below which there is as good as no record
_RIDGE: Final = 1.0  # penalty of squared weights, in pairs
_BAND: Final = 1.0  # standard errors that the disagreement of what is above the cut lies below the stated error
_LEAST: Final = 50  # judged pairs below which no curve is fitted
_ROUNDS: Final = 25


@dataclass(frozen=True, slots=True)
class Pair:
    """A request beside the neighbour whose verdict might decide it.

    Args:
        agreed, differed: Weights (`closeness`) of the judged requests around them that agree with that verdict, and
            that do not.
    """

    similarity: float
    words: Difference
    agreed: float
    differed: float

    def features(self) -> tuple[float, ...]:
        words, (for_it, against) = self.words, _DOUBT
        return (
            -math.log(1.002 - min(self.similarity, 1.0)),
            words.overlap,
            min(words.replaced, 3),
            min(words.added, 3),
            words.opener,
            words.named,
            min(words.shared, 6) / 3.0,
            math.log((self.agreed + for_it) / (self.differed + against)),
            math.log(self.agreed + self.differed + _FAINT),
        )


def stated_error(error: float | None, policy: object) -> float | None:
    """The share of wrong verdicts that may be taken over: no more than a policy's floor allows on the whole."""
    floor = getattr(policy, "quality", None)
    return error if error is None or floor is None else min(error, 1.0 - float(floor))


def closeness(similarity: float) -> float:
    """How much a judged request of this cosine counts for another."""
    return max(similarity, 0.0) ** SHARPNESS


def beside(
    own: Callable[[], Words | None],
    similarities: Sequence[float],
    verdicts: Sequence[Hashable],
    words: Callable[[int], Words | None],
) -> tuple[int, Pair] | None:
    """The neighbour whose verdict might decide a request, and the pair that they make; None if there is none.

    Args:
        own: Gives the request's words.
        similarities: Of its neighbours, nearest first.
        verdicts: What each says; None of one that may be no witness, but can still be against the others.
        words: Gives those of a neighbour, by its place.
    """
    for at, similarity in enumerate(similarities[:_LOOKED_AT]):
        if similarity < NEAR:
            break
        found = difference(own(), words(at)) if verdicts[at] is not None else None
        if found is None:
            continue
        agreed = differed = 0.0
        for other, said in zip(similarities[:_AROUND], verdicts, strict=False):
            if said == verdicts[at]:
                agreed += closeness(other)
            elif said is not None:
                differed += closeness(other)
        return at, Pair(similarity, found, agreed, differed)
    return None


@dataclass(frozen=True, eq=False)
class Bound:
    """A curve and its cut. Immutable: any thread may ask it.

    Args:
        weights: Of the features, and of none.
        cut: Score from which a verdict may be taken over; infinite where that is nowhere.
        examples: Judged pairs that it was fitted to.
    """

    weights: Array = field(repr=False)
    cut: float
    examples: int

    @property
    def holds(self) -> bool:
        """Whether it holds for any pair."""
        return math.isfinite(self.cut)

    def chance(self, pair: Pair) -> float | None:
        """The chance that the verdict is another one; None where the bound does not hold."""
        if not self.holds:
            return None
        score = float(np.dot(self.weights[:-1], pair.features()) + self.weights[-1])
        if score < self.cut:
            return None
        return max(1.0 / (1.0 + math.exp(min(score, 30.0))), 1.0 / (self.examples + 2.0))  # few prove no certainty


def fit(pairs: Sequence[Pair], agreed: Sequence[bool], error: float, counts: Sequence[float] | None = None) -> Bound:
    """Fit a curve to judged pairs, and cut it where at most a share `error` of what is above it disagrees.

    Args:
        agreed: Whether the verdict turned out to be the neighbour's.
        counts: For how many pairs each stands.
    """
    if len(pairs) < _LEAST:
        return Bound(np.zeros(0), math.inf, len(pairs))
    features = np.array([(*pair.features(), 1.0) for pair in pairs], np.float64)
    labels, weights = np.array(agreed, np.float64), np.ones(len(pairs)) if counts is None else np.array(counts)
    curve = _logistic(features, labels, weights)
    return Bound(curve, _cut(features @ curve, labels, weights, error), len(pairs))


def _logistic(features: Array, labels: Array, weights: Array) -> Array:
    """Newton's method with a ridge penalty; the level is free."""
    curve = np.zeros(features.shape[1])
    penalty = np.full(len(curve), _RIDGE)
    penalty[-1] = 1e-6
    for _ in range(_ROUNDS):
        chances = 1.0 / (1.0 + np.exp(-np.clip(features @ curve, -30.0, 30.0)))
        slope = features.T @ (weights * (chances - labels)) + penalty * curve
        bend = (features * (weights * chances * (1.0 - chances))[:, None]).T @ features + np.diag(penalty)
        step = np.linalg.solve(bend, slope)
        curve = curve - step
        if float(np.abs(step).max()) < 1e-4:  # of no consequence to any score
            break
    return curve


def _cut(scores: Array, labels: Array, weights: Array, error: float) -> float:
    """The lowest score above which the upper end of the disagreement's interval (Wilson 1927) is within error."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0.0, True)  # of those that score the same
    sizes, squares = np.cumsum(weights[order]), np.cumsum(np.square(weights[order]))
    shares = np.cumsum(weights[order] * (1.0 - labels[order])) / sizes
    seen, squared = sizes**2 / squares, _BAND**2
    spread = _BAND * np.sqrt(shares * (1.0 - shares) / seen + squared / (4.0 * seen**2))
    upper = (shares + squared / (2.0 * seen) + spread) / (1.0 + squared / seen)
    within = np.flatnonzero((upper <= error) & last)
    return float(scores[order][within[-1]]) if len(within) else math.inf


# --- what a memory holds ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judged:
    """A judged request that a bound is learned from.

    Args:
        works: The model in question is known to work on it.
        count: For how many requests it stands.
    """

    text: str | None
    signature: str
    works: bool
    count: float


def learn(judged: Sequence[Judged], embeddings: Vector, error: float) -> Bound:
    """The bound of a model's working, from judged requests beside each other, newest first.

    Args:
        embeddings: Shape `(n, dim)`, unit norm.
    """
    known: dict[int, Words | None] = {}

    def words(at: int) -> Words | None:
        if at not in known:
            known[at] = words_of(judged[at].text or "")
        return known[at]

    pairs: list[Pair] = []
    agreed: list[bool] = []
    counts: list[float] = []
    for own, around, similarities in _neighbourhoods(embeddings):
        # The same request may stand there twice, which is no paraphrase.
        others = [at for at in around if judged[at].signature != judged[own].signature]
        cosines = [similarities[at] for at in others]
        said = [judged[at].works for at in others]
        found = beside(partial(words, own), cosines, said, partial(_at, words, others))
        if found is not None and said[found[0]]:
            pairs.append(found[1])
            agreed.append(judged[own].works)
            counts.append(judged[own].count)
    return fit(pairs, agreed, error, counts)


def _at(words: Callable[[int], Words | None], others: Sequence[int], at: int) -> Words | None:
    return words(others[at])


def _neighbourhoods(embeddings: Vector) -> Iterator[tuple[int, list[int], dict[int, float]]]:
    """Each of the first rows, the rows nearest to it, nearest first, and their cosines; few at a time, for memory."""
    around = min(_AROUND, len(embeddings) - 1)
    for start in range(0, min(_SAMPLE, len(embeddings)) if around else 0, _AT_ONCE):
        own = np.arange(start, min(start + _AT_ONCE, _SAMPLE, len(embeddings)))
        cosines = embeddings[own] @ embeddings.T
        cosines[np.arange(len(own)), own] = -1.0
        nearest = np.argpartition(-cosines, around - 1, axis=1)[:, :around]
        for row, at in enumerate(own.tolist()):
            found = {int(other): float(cosines[row, other]) for other in nearest[row]}
            yield at, sorted(found, key=lambda other: -found[other]), found


def alike(standing: Standing, evidence: Evidence, text: str, bound: Bound) -> Alike | None:
    """The verdict on a model that a question in other words lends to the request at hand; None where none may."""
    if not bound.holds or (evidence.nearest or 0.0) < NEAR:
        return None
    matches = evidence.matches[:_AROUND]
    tallies = [_alone(standing, match, evidence) for match in matches]
    said = [None if tally is None else _works(tally, evidence.context) for tally in tallies]
    found = beside(
        lambda: words_of(text),
        [match.similarity for match in matches],
        said,
        lambda at: words_of(matches[at].experience.text or ""),
    )
    if found is None or not said[found[0]]:
        return None
    at, pair = found
    chance = bound.chance(pair)
    lent = tallies[at]
    if chance is None or lent is None:
        return None
    trials = sum(bool(one) and match.similarity >= NEAR for one, match in zip(said, matches, strict=True))
    return Alike(round(pair.similarity, 4), chance, chance + (1.0 - chance) * lent.mean_gap, trials)


def _alone(standing: Standing, match: Match, evidence: Evidence) -> Tally | None:
    tallies = of_pair(match.experience, standing.model_id, evidence.reference_id, standing.since)
    return next((tally for tally in tallies if tally.guide_id is None), None)


def _works(tally: Tally, context: str) -> bool | None:
    """Whether the model is known to work there; None where that was found in contexts that prove nothing here."""
    here = proven_in(tally, context)
    if here is not None or not works(tally):
        return bool(here)
    return True if proven_for_all(tally, context) else None
