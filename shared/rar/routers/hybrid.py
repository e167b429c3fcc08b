"""Hybrid-LLM (arXiv 2404.14618): whether the weak model is good enough, from samples of both models' answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from rar.errors import TrainingDataError, UnknownNameError
from rar.linear import Array, SoftmaxModel, softmax
from rar.options import POSITIVE
from rar.outcomes import Outcomes
from rar.routers.base import Arrays, Config, EmbeddingRouter, Progress
from rar.routers.saving import Saved
from rar.values import Vector

Mode: TypeAlias = Literal["det", "prob", "trans"]
_MODES = ("det", "prob", "trans")


def match_probability(weak: Array, strong: Array, t: float = 0.0) -> Array:
    """Pr[H >= -t] of each text over all pairs of samples, H the weak score less the strong one (sections 3.2, 3.3).

    Args:
        weak, strong: Scores of sampled answers, shapes `(n, k)` and `(n, l)`.

    Returns:
        Shape `(n,)`, multiples of `1 / (k l)`.
    """
    return np.asarray((_gaps(weak, strong) <= t).mean(1), np.float64)


def transformation(weak: Array, strong: Array) -> float:
    """t* >= 0, which maximises the mean distance of two texts' labels, (1/n²) sum |y_i(t) - y_j(t)| (section 3.3).

    Exact: labels change only where t equals a gap of two samples. Of equally good values it is the least.
    """
    gaps = np.sort(np.sort(_gaps(weak, strong), axis=1), axis=0)
    # A label is above v / kl where the row's v-th gap is at most t, so that with r such rows of n the sum over all
    # pairs is that of 2 r (n - r) / kl over v. One row more adds n - 1 - 2 r to r (n - r), in integers exactly.
    n, pairs = gaps.shape
    added = np.repeat(n - 1 - 2 * np.arange(n, dtype=np.int64), pairs)
    order = np.argsort(gaps, axis=None)
    reached, spread = gaps.ravel()[order], np.cumsum(added[order])
    candidates = np.unique(np.append(reached[reached > 0.0], 0.0))
    last = np.searchsorted(reached, candidates, "right")
    return float(candidates[np.append(0, spread)[last].argmax()])


class HybridRouter(EmbeddingRouter):
    """The chance that the weak model's answer is as good as the strong one's, by logistic regression.

    Its features are words, embedding and length. Its labels are soft, so that the weak model need not win always or
    never. Unlike other routers' its score counts a tie for the weak model, as the paper does.

    Args:
        mode: The labels. `"det"`: whether one weak sample scores at least as high as one strong sample. `"prob"`: the
            share of pairs of samples of which that is true. `"trans"`: the share of pairs in which the weak sample is
            worse by at most t*, chosen so that labels differ most; for a weak model that hardly ever matches.
        penalty: Of squared weights.
        single_sample: Accept one sample for each model in `"prob"` and `"trans"`, whose labels are then hard.
        embedder: As for `EmbeddingRouter`.
    """

    name = "hybrid"
    parameters = ("mode", "penalty", "single_sample")
    tie = 0.0

    def __init__(
        self, *, mode: Mode = "det", penalty: float = 1.0, single_sample: bool = False, embedder: Any = "minilm"
    ) -> None:
        super().__init__(embedder=embedder)
        if mode not in _MODES:
            raise UnknownNameError("mode", mode, _MODES)
        POSITIVE("penalty", penalty)
        self.mode, self.penalty, self.single_sample = mode, penalty, single_sample
        self.t_star_ = 0.0  # how much worse a weak answer may be and still count as good enough

    def threshold_for(self, data: Outcomes, max_drop: float) -> float:
        """`calibrate(data, max_drop=max_drop)`: the threshold with the fewest strong calls that loses no more."""
        return self.calibrate(data, max_drop=max_drop)

    def labels(self, data: Outcomes) -> Array:
        """What it is fitted to: the chance that the weak model is good enough, shape `(n,)`.

        Raises:
            TrainingDataError: There is only one sample of each model, but the mode needs several.
        """
        return self._labelled(data)[0]

    def _labelled(self, data: Outcomes) -> tuple[Array, float]:
        samples = data.samples if data.samples is not None else data.scores[:, :, None]
        k = samples.shape[2]
        if np.isnan(samples).any():
            raise TrainingDataError(f"{data.name}: row {np.argwhere(np.isnan(samples))[0, 0]} lacks a sample (NaN).")
        if k < 2 and self.mode != "det" and not self.single_sample:
            raise TrainingDataError(
                f"{data.name}: mode={self.mode!r} estimates chances from several samples of each model, but there is "
                "one. Give `samples` of shape (n, 2, k), use mode='det', or accept hard labels: single_sample=True."
            )
        weak, strong = samples[:, 0], samples[:, 1]
        if self.mode == "det":
            weak, strong = weak[:, :1], strong[:, :1]
        t = transformation(weak, strong) if self.mode == "trans" else 0.0
        return match_probability(weak, strong, t), t

    def _fit(self, data: Outcomes, progress: Progress) -> None:
        labels, t = self._labelled(data)
        if np.ptp(labels) == 0.0:
            raise TrainingDataError(
                f"{data.name}: the weak model is good enough with chance {labels[0]:g} on every row. There is nothing "
                "to learn; add rows with other outcomes, or use another mode."
            )
        self._model = SoftmaxModel.fit(
            data.texts, self._vectors(data), np.stack([labels, 1.0 - labels], 1), self.penalty
        )
        self.t_star_ = t

    def _score(self, texts: Sequence[str], vectors: Vector | None) -> Array:
        vectors = vectors if vectors is not None else self.embedder.embed(texts)
        return softmax(self._model.logits(texts, vectors))[:, 1]

    def _about(self) -> Config:
        return {**super()._about(), "t_star": self.t_star_}

    def _arrays(self) -> Arrays:
        return self._model.arrays()

    def _restore(self, saved: Saved) -> None:
        self._model = SoftmaxModel.of_arrays(saved.arrays)
        self.t_star_ = float(saved.about["t_star"])


def _gaps(weak: Array, strong: Array) -> Array:
    """How much the strong sample is above the weak one, for each pair of a text's samples, shape `(n, k l)`."""
    return np.reshape(strong[:, None, :] - weak[:, :, None], (len(weak), -1))
