"""How familiar a request is: how many of those that a score was fitted to are near it, by the measure of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from rar.values import Vector

_MOST = 2_000  # newest requests that are compared
_SAMPLE = 500  # of them whose distances say what is near
_NEAR = 0.01  # share of all pairs that count as near: two of one subject, where there are many
# Of kinds never seen, the mean of what is expected was off by 0.1 to 0.4 standard deviations of the gaps, in four files
# of recorded outcomes, and of known kinds by a third to a half of that.
_STRANGE = 0.3


@dataclass(frozen=True, eq=False)
class Company:
    """Requests that a score was fitted to. `near` is the cosine from which two of them are alike."""

    rows: Vector = field(repr=False)  # shape (m, dim)
    near: float

    @classmethod
    def of(cls, embeddings: Vector) -> Company:
        """Of requests, newest first; `embeddings` has shape `(n, dim)`."""
        rows = np.ascontiguousarray(embeddings[:_MOST], np.float32)
        some = rows[:: -(-len(rows) // _SAMPLE)]
        pairs = (some @ some.T)[np.triu_indices(len(some), 1)]
        return cls(rows, float(np.quantile(pairs, 1.0 - _NEAR)) if len(pairs) else 1.0)

    def strangeness(self, embedding: Vector) -> float:
        """The error to be expected of the mean of requests like this one, in standard deviations of gaps."""
        near = int(np.count_nonzero(self.rows @ embedding >= self.near))
        return _STRANGE / math.sqrt(1.0 + near)
