"""Routers that keep what they saw, and look at what became of similar texts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from typing_extensions import Self

from rar.errors import TrainingDataError
from rar.linear import Array
from rar.options import COUNT
from rar.outcomes import Outcomes
from rar.routers.base import Arrays, EmbeddingRouter, Progress
from rar.routers.fingerprint import merged, sketch
from rar.routers.saving import Saved
from rar.values import Vector

_CELLS = 2**22  # similarities, or numbers made of them, that are held at a time: 16 MiB
_TIE = 1e-5  # cosines that are nearer than this are equal: what a matrix product rounds must not order neighbours


class NeighbourRouter(EmbeddingRouter):
    """A router that keeps the embeddings of `n` texts and `c` facts of each: it can be updated, and never forgets."""

    def __init__(self, *, embedder: Any = "minilm") -> None:
        super().__init__(embedder=embedder)
        self._kept: tuple[Vector, Vector] = np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)

    @abstractmethod
    def _facts(self, data: Outcomes) -> Vector:
        """What is kept of the outcomes of each text, shape `(n, c)`."""

    def _fit(self, data: Outcomes, progress: Progress) -> None:
        self._kept = self._seen(data)

    def update(self, outcomes: Outcomes) -> Self:
        """Add more outcomes of the same models, of one text or more.

        Raises:
            TrainingDataError: They are of other models, or lack scores.
        """
        self._fitted()
        if outcomes.models != self.models:
            raise TrainingDataError(
                f"{outcomes.name}: this router knows {', '.join(self.models)}, but these are outcomes of "
                f"{', '.join(outcomes.models)}. Fit a new one, or name the models alike."
            )
        if self.pair and np.isnan(outcomes.gap).any():
            raise TrainingDataError(f"{outcomes.name}: row {int(np.isnan(outcomes.gap).argmax())} lacks a score (NaN).")
        (vectors, facts), (more, their) = self._kept, self._seen(outcomes)
        self._kept = np.concatenate([vectors, more]), np.concatenate([facts, their])
        self.facts = {**self.facts, "rows": len(self._kept[0])}
        if self._sketch is not None:
            self._sketch = merged(self._sketch, sketch(outcomes.texts))
        return self

    def _seen(self, data: Outcomes) -> tuple[Vector, Vector]:
        # Rounded to what a file holds, so that a saved router scores the same; halves the file.
        vectors = self._vectors(data).astype(np.float16).astype(np.float32)
        return vectors, self._facts(data)

    def _by_similarity(
        self, texts: Sequence[str], vectors: Vector | None, told: Callable[[Vector, Vector], Array]
    ) -> Array:
        """`told(cosines, facts)` of all texts, where cosines have shape `(some texts, n)`."""
        kept, facts = self._kept
        vectors = vectors if vectors is not None else self.embedder.embed(texts)
        return in_blocks(vectors, kept, lambda cosines: told(cosines, facts), width=facts.shape[1])

    def _arrays(self) -> Arrays:
        vectors, facts = self._kept
        return {"vectors": vectors.astype(np.float16), "facts": facts}

    def _restore(self, saved: Saved) -> None:
        vectors, facts = (saved.arrays[name].astype(np.float32) for name in ("vectors", "facts"))
        if vectors.shape != (len(facts), self.embedder.dim) or facts.ndim != 2:
            raise ValueError(f"vectors {vectors.shape}, facts {facts.shape}")
        self._kept = vectors, facts


class KNNRouter(NeighbourRouter):
    """The mean gap of the `k` nearest texts by cosine; where several are equally near, each counts a share.

    A strong baseline of routing benchmarks (RouterBench, arXiv 2403.12031).

    Args:
        k: Neighbours; with fewer texts, all of them.
    """

    name = "knn"
    parameters = ("k",)

    def __init__(self, *, embedder: Any = "minilm", k: int = 40) -> None:
        super().__init__(embedder=embedder)
        COUNT("k", k)
        self.k = k

    def _facts(self, data: Outcomes) -> Vector:
        return data.gap[:, None].astype(np.float32)

    def _score(self, texts: Sequence[str], vectors: Vector | None) -> Array:
        return (1.0 + self._by_similarity(texts, vectors, self._mean_gap)) / 2.0

    def _mean_gap(self, cosines: Vector, gaps: Vector) -> Array:
        k = min(self.k, len(gaps))
        last = np.partition(cosines, -k, axis=1)[:, [-k]]
        nearer, near = cosines > last + _TIE, cosines >= last - _TIE
        inside = nearer.sum(1)
        share = (k - inside) / (near.sum(1) - inside)
        sums = [mask.astype(np.float32) @ gaps[:, 0] for mask in (nearer, near)]
        return np.asarray(sums[0] + share * (sums[1] - sums[0]), np.float64) / k


def in_blocks(vectors: Vector, kept: Vector, told: Callable[[Vector], Array], width: int = 1) -> Array:
    """`told(cosines)` of blocks of `vectors` with `kept`, joined, so that memory does not grow with their number.

    Args:
        width: How many numbers `told` makes of a row of cosines on its way.
    """
    size = max(1, _CELLS // max(1, len(kept), width))
    return np.concatenate([told(vectors[at : at + size] @ kept.T) for at in range(0, len(vectors), size)])
