"""Elo ratings for each request, by battles on similar ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rar.errors import TrainingDataError
from rar.linear import Array, softmax
from rar.options import POSITIVE, Number
from rar.outcomes import Outcomes, teachable
from rar.routers.base import Progress, RankingRouter
from rar.routers.neighbours import NeighbourRouter
from rar.routers.saving import Saved
from rar.values import Vector

BASE, SCALE = 1000.0, 400.0 / np.log(10.0)  # of an Elo rating; 400 points more are ten wins to one
_ROWS = 1024  # of which battles are made at a time
_LEAST_COSINE = 0.1  # below it even the nearest text is a stranger, and differences are noise


class SimilarityEloRouter(NeighbourRouter, RankingRouter):
    """RouteLLM's similarity-weighted ranking: a Bradley-Terry model for each request (arXiv 2406.18665).

    Every two models with scores on a text have had a battle there. A battle on a text of cosine s counts
    gamma^(s / s_max), where s_max is that of the nearest text. Ratings are those under which the weighted battles are
    likeliest, and the chance to win is 1 / (1 + 10^(difference / 400)). Of two models it is the weighted share of wins.

    Args:
        gamma: How many times a battle on the nearest text counts one on an unrelated text. RouteLLM has 10; 100 ranked
            requests better in cross-validation (MMLU) or equally well (GSM8K).
        prior: Tied battles of every two models on the nearest text that are counted besides.
        weak, strong: The models whose chances `score` tells; None: the first and the last.
    """

    name = "elo"
    parameters = ("gamma", "prior", "weak", "strong")
    pair = False

    def __init__(
        self,
        *,
        embedder: Any = "minilm",
        gamma: float = 100.0,
        prior: float = 1.0,
        weak: str | None = None,
        strong: str | None = None,
    ) -> None:
        super().__init__(embedder=embedder)
        Number(1.0)("gamma", gamma)
        POSITIVE("prior", prior)
        self.gamma, self.prior, self.weak, self.strong = gamma, prior, weak, strong

    def _fit(self, data: Outcomes, progress: Progress) -> None:
        models = data.models
        if len(models) == 2:
            data = teachable(data.pair(*models), pair=True)
        unknown = [model for model in (self.weak, self.strong) if model is not None and model not in models]
        if unknown:
            raise TrainingDataError(f"{data.name}: there is no model {unknown[0]!r} among {', '.join(models)}.")
        if (~np.isnan(data.scores)).sum(1).max() < 2:
            raise TrainingDataError(f"{data.name}: no row has the scores of two models, so that there is no battle.")
        super()._fit(data, progress)

    def _facts(self, data: Outcomes) -> Vector:
        found = np.empty((len(data), len(data.models) ** 2), np.float32)
        for at in range(0, len(data), _ROWS):  # an arena has dozens of models
            found[at : at + _ROWS] = wins(data.scores[at : at + _ROWS]).reshape(-1, found.shape[1])
        return found

    def _restore(self, saved: Saved) -> None:
        super()._restore(saved)
        facts, models = self._kept[1], saved.about["models"]
        if facts.shape[1] != len(models) ** 2:
            raise ValueError(f"facts {facts.shape} of {len(models)} models")

    def _score(self, texts: Sequence[str], vectors: Vector | None) -> Array:
        weak = 0 if self.weak is None else self.models.index(self.weak)
        strong = -1 if self.strong is None else self.models.index(self.strong)
        strengths = self._strengths(texts, vectors)
        return np.asarray(1.0 / (1.0 + np.exp(strengths[:, weak] - strengths[:, strong])), np.float64)

    def scores(self, texts: Sequence[str], vectors: Vector | None = None) -> Array:
        """The chance of each of `models` to be the best of them (Plackett-Luce), shape `(n, len(models))`."""
        self._fitted()
        return softmax(self._strengths(texts, vectors)) if len(texts) else np.zeros((0, len(self.models)))

    def ratings(self) -> dict[str, float]:
        """The models' Elo ratings over all battles, each counting alike; their mean is 1000."""
        self._fitted()
        m = len(self.models)
        counts = self._kept[1].sum(0, dtype=np.float64).reshape(1, m, m)
        found = BASE + SCALE * bradley_terry(counts + self.prior / 2.0)[0]
        return dict(zip(self.models, found.tolist(), strict=True))

    def _strengths(self, texts: Sequence[str], vectors: Vector | None) -> Array:
        """Natural logarithms of strengths, shape `(n, m)`, rows of mean 0."""
        return self._by_similarity(texts, vectors, self._by_battles)

    def _by_battles(self, cosines: Vector, facts: Vector) -> Array:
        m = len(self.models)
        nearest = cosines.max(1, keepdims=True)
        slope = np.float32(np.log(self.gamma)) / np.maximum(nearest, np.float32(_LEAST_COSINE))
        weights = np.exp((cosines - nearest) * slope)  # of the nearest: 1
        counts = (weights @ facts).astype(np.float64).reshape(-1, m, m)
        return bradley_terry(counts + self.prior / 2.0)


def wins(scores: Array) -> Array:
    """Who beat whom on each text, shape `(n, m, m)`.

    Element `i, a, b` is 1 where a's score is higher, a half for a tie, 0 where one of the two has none or a is b.
    """
    gaps = scores[:, :, None] - scores[:, None, :]
    won: Array = np.where(np.isnan(gaps), 0.0, (1.0 + np.sign(gaps)) / 2.0)
    places = np.arange(scores.shape[1])
    won[:, places, places] = 0.0
    return won


def bradley_terry(counts: Array, *, steps: int = 50, tolerance: float = 1e-9) -> Array:
    """The strengths, as natural logarithms of mean 0, under which these wins are likeliest (Bradley & Terry 1952).

    Args:
        counts: `q` problems of `m` models, shape `(q, m, m)`; element `a, b` is how often a won against b, above 0 for
            any two models, so that there is one finite solution. The diagonal does not count.
        steps: Of Newton's method, at most.
    """
    m = counts.shape[-1]
    off = ~np.eye(m, dtype=bool)
    won = np.where(off, counts, 0.0)
    battles = won + won.swapaxes(1, 2)
    if m == 2:  # solved by the share of wins
        half = np.log(won[:, 1, 0] / won[:, 0, 1]) / 2.0
        return np.stack([-half, half], 1)
    strengths = np.zeros(counts.shape[:2])
    for _ in range(steps):
        chances = _chances(strengths)
        slope = (won - battles * chances).sum(2)
        bends = battles * chances * (1.0 - chances)
        # The likelihood does not change when all strengths do: the added constant keeps their mean where it is.
        matrix = bends.sum(2)[:, :, None] * np.eye(m) - bends + bends.mean((1, 2), keepdims=True)
        change = np.linalg.solve(matrix, slope[:, :, None])[:, :, 0]
        # Of a lopsided count the first steps would go too far.
        change /= np.maximum(1.0, np.abs(change).max(1, keepdims=True))
        strengths += change
        if np.abs(change).max() < tolerance:
            break
    centred: Array = strengths - strengths.mean(1, keepdims=True)
    return centred


def _chances(strengths: Array) -> npt.NDArray[np.float64]:
    """The chance of a to beat b, shape `(q, m, m)`."""
    return np.asarray(1.0 / (1.0 + np.exp(strengths[:, None, :] - strengths[:, :, None])), np.float64)
