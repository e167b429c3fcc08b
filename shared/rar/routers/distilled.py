"""Zooter (arXiv 2311.08692): which of many models answers best, distilled from the rewards of their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from rar.errors import ConfigurationError, TrainingDataError
from rar.linear import Array, SoftmaxModel, softmax
from rar.naming import shown
from rar.options import COUNT, POSITIVE, SHARE, Number
from rar.outcomes import Outcomes
from rar.routers.base import Arrays, EmbeddingRouter, Progress, RankingRouter
from rar.routers.saving import Saved
from rar.values import Vector


class RewardDistilledRouter(EmbeddingRouter, RankingRouter):
    """The distribution softmax(reward / temperature) over models, by multinomial logistic regression (equations 3, 4).

    Rewards are any scores. They are first drawn towards the mean reward of texts with the same tag (equation 5), which
    damps their noise and stands in for scores that are missing. As the regression's T * log(p) is the expected reward
    up to a constant, `choose` weighs it against costs in units of reward.

    Args:
        temperature: Of the distribution, in units of reward. A low one says only which model was best; a high one, how
            much better.
        beta: How much a text's own rewards count against those of its tag, in [0, 1].
        cost_weight: How much more reward the dearest model must give than one that costs nothing.
        prices: What a call of each model costs, in any unit; None: the means of the outcomes' costs.
        clusters: How many groups are made, by k-means on the embeddings, for outcomes that bring none.
        penalty: Of squared weights.
        weak, strong: The two models that `score` compares; None: the first and the last.
        seed: Of k-means.
        embedder: As for `EmbeddingRouter`.
    """

    name = "distilled"
    parameters = (
        "temperature", "beta", "cost_weight", "prices", "clusters", "penalty", "weak", "strong", "seed",
    )  # fmt: skip
    pair = False

    def __init__(
        self,
        *,
        temperature: float = 0.5,
        beta: float = 0.3,
        cost_weight: float = 0.0,
        prices: Mapping[str, float] | None = None,
        clusters: int = 30,
        penalty: float = 0.2,
        weak: str | None = None,
        strong: str | None = None,
        seed: int = 0,
        embedder: Any = "minilm",
    ) -> None:
        super().__init__(embedder=embedder)
        POSITIVE("temperature", temperature)
        SHARE("beta", beta)
        Number()("cost_weight", cost_weight)
        COUNT("clusters", clusters)
        POSITIVE("penalty", penalty)
        if prices is not None and not _priced(prices):
            raise ConfigurationError(f"prices={shown(prices)} is not a number of 0 or more for each model.")
        self.temperature, self.beta, self.cost_weight = temperature, beta, cost_weight
        self.prices = dict(prices) if prices is not None else None
        self.clusters, self.penalty, self.seed = clusters, penalty, seed
        self.weak, self.strong = weak, strong

    def scores(self, texts: Sequence[str], vectors: Vector | None = None) -> Array:
        """The chance, by `temperature`, that each of `models` is the one to ask, shape `(n, len(models))`."""
        self._fitted()
        return softmax(self._logits(texts, vectors))

    def choose(
        self, texts: Sequence[str], vectors: Vector | None = None, *, cost_weight: float | None = None
    ) -> list[str]:
        """The model for each text: that of the most expected reward less weighted cost.

        Args:
            cost_weight: Taken off the dearest model's reward, and off another's as much less as it is cheaper; None:
                the router's own.
        """
        self._fitted()
        weight = self.cost_weight if cost_weight is None else cost_weight
        if weight and not self._costs.any():
            raise ConfigurationError(_NO_COSTS)
        worth = self.temperature * self._logits(texts, vectors) - weight * self._costs
        return [self.models[best] for best in worth.argmax(1)]

    def _fit(self, data: Outcomes, progress: Progress) -> None:
        for model in (self.weak, self.strong):
            if model is not None and model not in data.models:
                raise TrainingDataError(f"{data.name}: there is no model {model!r} among {list(data.models)}.")
        missing = np.isnan(data.scores).all(0)
        if missing.any():
            raise TrainingDataError(f"{data.name}: {data.models[int(missing.argmax())]!r} has no score on any row.")
        costs, vectors = self._costs_of(data), self._vectors(data)
        of_their_own = None if data.groups is None else np.unique(data.groups, return_inverse=True)[1]
        groups = self._groups(vectors) if of_their_own is None else of_their_own
        targets = softmax(enhanced(data.scores, groups, self.beta) / self.temperature)
        self._model = SoftmaxModel.fit(data.texts, vectors, targets, self.penalty)
        self._costs = costs

    def _costs_of(self, data: Outcomes) -> Array:
        """Of each model, as a share of the dearest one's; 0 where nothing is known."""
        if self.prices is not None:
            unpriced = [model for model in data.models if model not in self.prices]
            if unpriced:
                raise ConfigurationError(f"prices= lacks {unpriced}. Give one for each model of the outcomes.")
            costs = np.array([self.prices[model] for model in data.models], np.float64)
        elif data.costs is not None:
            known = ~np.isnan(data.costs)
            if not known.any(0).all():
                raise TrainingDataError(
                    f"{data.name}: {data.models[int(known.any(0).argmin())]!r} has no cost on any row. Give prices=."
                )
            costs = np.nanmean(data.costs, 0)
        elif self.cost_weight:
            raise ConfigurationError(_NO_COSTS)
        else:
            return np.zeros(len(data.models))
        return np.asarray(costs / max(float(costs.max()), 1e-300), np.float64)

    def _groups(self, vectors: Vector) -> npt.NDArray[np.intp]:
        import faiss  # noqa: PLC0415 - slow to import

        k = min(self.clusters, len(vectors))
        means = faiss.Kmeans(vectors.shape[1], k, niter=20, seed=self.seed + 1, min_points_per_centroid=1)
        means.train(np.ascontiguousarray(vectors, np.float32))
        return np.asarray(means.assign(np.ascontiguousarray(vectors, np.float32))[1], np.intp)

    def _logits(self, texts: Sequence[str], vectors: Vector | None) -> Array:
        if not len(texts):
            return np.zeros((0, len(self.models)))
        return self._model.logits(texts, vectors if vectors is not None else self.embedder.embed(texts))

    def _score(self, texts: Sequence[str], vectors: Vector | None) -> Array:
        weak = self.models.index(self.weak) if self.weak is not None else 0
        strong = self.models.index(self.strong) if self.strong is not None else -1
        return softmax(self._logits(texts, vectors)[:, [weak, strong]])[:, 1]

    def _arrays(self) -> Arrays:
        return {**self._model.arrays(), "costs": self._costs}

    def _restore(self, saved: Saved) -> None:
        self._model = SoftmaxModel.of_arrays(saved.arrays)
        self._costs = saved.arrays["costs"]


def enhanced(rewards: Array, groups: npt.NDArray[np.intp], beta: float) -> Array:
    """Tag-based label enhancement: beta * reward + (1 - beta) * the tag's mean reward of that model (equation 5).

    Args:
        rewards: Shape `(n, m)`; NaN where a model was not asked: there the tag's mean counts alone.
        groups: Shape `(n,)`, from 0. A model that was asked nothing of a group has its overall mean there.
    """
    asked = ~np.isnan(rewards)
    known = np.where(asked, rewards, 0.0)
    sums, counts = (np.zeros((groups.max() + 1, rewards.shape[1])) for _ in range(2))
    np.add.at(sums, groups, known)
    np.add.at(counts, groups, asked)
    overall = known.sum(0) / asked.sum(0)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), overall)[groups]
    return np.asarray(np.where(asked, beta * known + (1.0 - beta) * means, means), np.float64)


def _priced(prices: object) -> bool:
    """Whether these are prices, as they may come from a file."""
    return isinstance(prices, Mapping) and all(
        isinstance(cost, Real) and float(cost) >= 0.0 for cost in prices.values()
    )


_NO_COSTS = "cost_weight needs costs. Give prices={model: USD}, or fit to outcomes with `costs`."
