"""Matrix factorisation of models and requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from typing_extensions import Self, Unpack

from rar.errors import TrainingDataError
from rar.linear import Array, softmax
from rar.options import COUNT, Number
from rar.outcomes import LEAST, Outcomes, teachable
from rar.routers._torch import Rows, held_out, torch_library, train
from rar.routers.base import Arrays, EmbeddingRouter, Progress, RankingRouter, _silent
from rar.routers.saving import Saved
from rar.routers.trained import TrainedRouter, Training, TrainingOptions
from rar.values import Vector

_PARTS = ("models", "projection", "offset", "weights")


class MatrixFactorizationRouter(EmbeddingRouter, TrainedRouter, RankingRouter):
    """RouteLLM's bilinear model of who wins, for two models or more (arXiv 2406.18665, section 4).

    Model M's strength on request q is delta(M, q) = w . (v_M * (W e_q + b)), with e_q the request's embedding and v_M a
    learned vector of unit norm. The chance that A beats B is sigmoid(delta(A, q) - delta(B, q)), a tie counting half.
    Fitted by cross-entropy against (1 + gap) / 2, a gap of one or more being a sure win. Embeddings get Gaussian noise,
    and a share of the rows tells when to stop. Fitting needs PyTorch, scoring NumPy only.

    Args:
        dim: Length of v_M.
        noise: Standard deviation of the noise on each coordinate of an embedding, of unit norm.
        training: As of `Training`.
    """

    name = "mf"
    parameters = ("dim", "noise")
    usual = Training(rate=3e-3, head_rate=None, batch=512, epochs=100, patience=10)
    pair = False

    def __init__(
        self,
        *,
        embedder: Any = "minilm",
        dim: int = 128,
        noise: float = 0.02,
        **training: Unpack[TrainingOptions],
    ) -> None:
        EmbeddingRouter.__init__(self, embedder=embedder)
        TrainedRouter.__init__(self, **training)
        COUNT("dim", dim)
        Number()("noise", noise)
        self.dim, self.noise = dim, noise
        self._learned: dict[str, Array] = {}

    def _fit(self, data: Outcomes, progress: Progress) -> None:
        if len(data.models) == 2:
            teachable(data, pair=True)
        torch_library()
        vectors = self._vectors(data)
        draw = np.random.default_rng(self.training.seed)
        m, width = len(data.models), vectors.shape[1]
        start = {
            "models": draw.normal(size=(m, self.dim)),
            "projection": draw.normal(size=(self.dim, width)) / np.sqrt(width),
            "offset": np.zeros(self.dim),
            "weights": draw.normal(size=self.dim) / np.sqrt(self.dim),
        }
        self._learn(start, data, vectors, progress)

    def update(self, data: Outcomes) -> Self:
        """Go on training with more outcomes of the same models, from what was learned; few rows change little.

        Raises:
            TrainingDataError: They are of other models, or too few.
        """
        self._fitted()
        outcomes = teachable(data, pair=len(self.models) == 2)
        if outcomes.models != self.models:
            raise TrainingDataError(f"{outcomes.name}: it is of {outcomes.models}; this router knows {self.models}.")
        self._learn(self._learned, outcomes, self._vectors(outcomes), _silent)
        self.facts = {**self.facts, "rows": self.facts["rows"] + len(outcomes)}
        return self

    def scores(self, texts: Sequence[str], vectors: Vector | None = None) -> Array:
        """The chance of each model to be the best of all by Luce's choice rule, shape `(n, m)`: softmax of delta."""
        self._fitted()
        return softmax(self._strength(texts, vectors)) if len(texts) else np.zeros((0, len(self.models)))

    def _score(self, texts: Sequence[str], vectors: Vector | None) -> Array:
        strength = self._strength(texts, vectors)
        return np.asarray(1.0 / (1.0 + np.exp(strength[:, 0] - strength[:, -1])), np.float64)

    def _strength(self, texts: Sequence[str], vectors: Vector | None) -> Array:
        vectors = self.embedder.embed(texts) if vectors is None else vectors
        models, projection, offset, weights = (self._learned[part] for part in _PARTS)
        weighted = models / np.linalg.norm(models, axis=1, keepdims=True) * weights
        # First what does not depend on the texts: the model is linear in the embedding.
        return np.asarray(vectors @ (projection.T @ weighted.T).astype(np.float32) + weighted @ offset, np.float64)

    def _learn(self, start: dict[str, Array], data: Outcomes, vectors: Vector, progress: Progress) -> None:
        torch = torch_library()
        weaker, stronger = np.triu_indices(len(data.models), 1)
        met = np.flatnonzero((~np.isnan(data.scores)).sum(1) >= 2)  # no other row has a battle
        scores = data.scores[met]
        if len(met) < LEAST:
            raise TrainingDataError(
                f"{data.name}: {len(met)} rows have the scores of two models, which is too few to learn from; "
                f"{LEAST} are needed."
            )
        if not (np.fmax.reduce(scores, 1) > np.fmin.reduce(scores, 1)).any():
            raise TrainingDataError(f"{data.name}: no model is ever better than another. There is nothing to learn.")
        points = torch.tensor(np.asarray(vectors, np.float32)[met])
        learned = {name: torch.tensor(start[name], dtype=torch.float32, requires_grad=True) for name in _PARTS}
        models, projection, offset, weights = (learned[part] for part in _PARTS)

        def loss(rows: Rows, noise: float = self.noise) -> Any:
            noisy = points[rows] + noise * torch.randn(len(rows), points.shape[1]) if noise else points[rows]
            units = torch.nn.functional.normalize(models, dim=1)
            strength = (noisy @ projection.T + offset) @ (units * weights).T
            gaps = strength[:, stronger] - strength[:, weaker]
            # Of a few rows at a time: those of all would be many times the scores, for an arena has dozens of models.
            wins = np.clip((1.0 + scores[rows][:, stronger] - scores[rows][:, weaker]) / 2.0, 0.0, 1.0)
            battles = torch.tensor(np.nan_to_num(wins), dtype=torch.float32)
            fought = torch.tensor(~np.isnan(wins), dtype=torch.float32)
            cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
            return cross_entropy(gaps, battles, fought, reduction="sum") / fought.sum()

        def error() -> float:
            with torch.no_grad():
                return float(loss(watched, 0.0))

        def batches(draw: np.random.Generator) -> list[Rows]:
            order = draw.permutation(rows)
            return [order[at : at + self.training.batch] for at in range(0, len(order), self.training.batch)]

        rows, watched = held_out(len(met), self.training.watched, self.training.seed)
        train(learned, self.training, batches=batches, loss=loss, error=error, progress=progress)
        self._learned = {name: tensor.detach().numpy() for name, tensor in learned.items()}

    def _arrays(self) -> Arrays:
        return self._learned

    def _restore(self, saved: Saved) -> None:
        self._learned = {part: saved.arrays[part] for part in _PARTS}
