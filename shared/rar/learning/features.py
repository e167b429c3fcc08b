"""The dense features of a request: its embedding, its length, its likeness to examples, and a static router's word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rar.learning.surface import SIZE, surface
from rar.values import Vector

_Floats = npt.NDArray[np.float32]
_EXAMPLES = 256  # requests to which others are compared; twice as many rank hardly better
# How far apart two requests are: by their embeddings, and by what their texts are like, in standard deviations.
_MEANING, _WIDTH = 0.7, 0.8
_FAR = 3.0  # standard deviations beyond which a text is no stranger
# How far a part is trusted against the words, at first: an embedding, which speaks of topics more than of difficulty,
# a length e times another's, likeness to an example, and a prior, which speaks of the gap itself.
_EMBEDDING, _LENGTH, _LIKENESS, _PRIOR = 0.4, 0.25, 0.6, 3.0


@dataclass(frozen=True, eq=False)
class Features:
    """Features that are made from the requests that a score is fitted to (Nyström's method, with a Gaussian kernel)."""

    mean: _Floats = field(repr=False)  # of what texts are like, shape (SIZE,)
    spread: _Floats = field(repr=False)
    examples: _Floats = field(repr=False)  # shape (m, dim + SIZE)
    root: _Floats = field(repr=False)  # shape (m, r): makes the products of likenesses those of the kernel

    @classmethod
    def of(cls, texts: Sequence[str | None], embeddings: Vector) -> Features:
        """From requests; `embeddings` has shape `(n, dim)`."""
        known = [surface(text) for text in texts if text is not None]
        looks = np.stack(known) if known else np.zeros((1, SIZE), np.float32)
        found = cls(
            looks.mean(0), np.maximum(looks.std(0), 1e-6), np.zeros((0, 0), np.float32), np.eye(0, dtype=np.float32)
        )
        chosen = np.random.default_rng(0).permutation(len(texts))[:_EXAMPLES]
        examples = found._places([texts[row] for row in chosen], embeddings[chosen])
        values, vectors = np.linalg.eigh(_kernel(examples, examples).astype(np.float64))
        held = values > 1e-4 * values[-1]
        root = (vectors[:, held] / np.sqrt(values[held])).astype(np.float32)
        return cls(found.mean, found.spread, examples, root)

    @property
    def starts(self) -> tuple[int, ...]:
        """The columns at which the parts start that are believed each for itself."""
        dim = self.examples.shape[1] - SIZE
        return 0, dim, dim + 1, dim + 1 + self.root.shape[1]

    def __call__(self, texts: Sequence[str | None], embeddings: Vector, priors: npt.NDArray[np.floating]) -> _Floats:
        """Shape `(n, columns)`; where a text is not known, its length and what it is like are taken for usual."""
        alike = _kernel(self._places(texts, embeddings), self.examples) @ self.root
        lengths = np.array([0.0 if text is None else np.log(len(text) + 1.0) - 5.0 for text in texts])
        columns = [_EMBEDDING * embeddings, _LENGTH * lengths[:, None], _LIKENESS * alike, _PRIOR * priors[:, None]]
        return np.concatenate(columns, 1, dtype=np.float32)

    def _places(self, texts: Sequence[str | None], embeddings: Vector) -> _Floats:
        looks = np.stack([self.mean if text is None else surface(text) for text in texts])
        looks = np.clip((looks - self.mean) / self.spread, -_FAR, _FAR) / np.sqrt(np.float32(SIZE))
        return np.concatenate([_MEANING * embeddings, looks], 1, dtype=np.float32)


def _kernel(rows: _Floats, examples: _Floats) -> _Floats:
    squares = (rows**2).sum(1)[:, None] + (examples**2).sum(1) - 2.0 * rows @ examples.T
    near: _Floats = np.exp(-np.maximum(squares, 0.0) / np.float32(2.0 * _WIDTH**2))
    return near
