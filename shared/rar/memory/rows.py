"""Vectors in memory that are compared one by one: the newest of a shard, or all where they are few."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import faiss
import numpy as np

from rar.values import Vector

# FAISS adds more than 100 vectors with OpenMP, whose threads take every core and do not survive a fork.
CHUNK = 64
SWEEP_AT = 0.25  # share of dead rows
_TIES = 64  # a tie is followed over this many times the limit


def unit(vectors: Vector) -> Vector:
    """Rows scaled to norm 1; a row that has no direction becomes zero, which is like nothing."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, np.newaxis]
    with np.errstate(all="ignore"):
        scaled = (vectors / norms).astype(np.float32, copy=False)
    lost = ~np.isfinite(scaled).all(axis=1)
    if lost.any():
        scaled[lost] = 0.0
    return np.ascontiguousarray(scaled)


def unit_query(vector: Vector) -> Vector:
    norm = float(np.dot(vector, vector)) ** 0.5
    if not 0.0 < norm < np.inf:
        return unit(vector[np.newaxis])
    return (vector / np.float32(norm))[np.newaxis]


def nearest(found: Iterable[tuple[float, str]], limit: int) -> list[tuple[float, str]]:
    """The `limit` nearest of several searches' finds, ties by id."""
    return sorted(found, key=_nearest_first)[:limit]


def _nearest_first(found: tuple[float, str]) -> tuple[float, str]:
    return -found[0], found[1]


def search(
    index: Any, query: Vector, limit: int, *, size: int, live: int, id_of: Callable[[int], str | None]
) -> list[tuple[float, str]]:
    """The `limit` nearest rows of a FAISS index that are alive, nearest first, ties by id.

    Args:
        size, live: Rows, and how many of them are alive.
        id_of: A row's id; None of a dead one.
    """
    take = min(limit + 1, size)
    while True:
        similarities, rows = index.search(query, take)
        # float32 can tell no more digits apart, and may reach beyond a cosine's bounds.
        cosines = similarities[0].astype(np.float64).round(6).clip(-1.0, 1.0).tolist()
        found = [
            (cosine, id)
            for cosine, row in zip(cosines, rows[0].tolist(), strict=True)
            if row >= 0 and (id := id_of(row)) is not None
        ]
        crowded_out = len(found) < min(limit, live)
        tie_goes_on = limit < live and len(found) >= limit and found[-1][0] == found[limit - 1][0]
        if take == size or not (crowded_out or (tie_goes_on and take < _TIES * limit)):
            return nearest(found, limit)
        take = min(2 * take, size)


class Rows:
    """A flat index, and the ids of its rows. Rows are only added: a replaced or deleted id leaves a dead one."""

    def __init__(self) -> None:
        self.row_of: dict[str, int] = {}
        self._ids: list[str | None] = []  # None: a dead row
        self._index: Any = None

    def __len__(self) -> int:
        return len(self.row_of)

    @property
    def dead(self) -> int:
        return len(self._ids) - len(self.row_of)

    @property
    def littered(self) -> bool:
        """Whether so many rows are dead that they are to be swept out."""
        return self.dead > max(CHUNK, SWEEP_AT * len(self._ids))

    def put(self, ids: Sequence[str], vectors: Vector) -> None:
        if self._index is None:
            self._index = faiss.IndexFlatIP(vectors.shape[1])
        known = [(place, self.row_of[id]) for place, id in enumerate(ids) if id in self.row_of]
        if known:  # what only changed its text keeps its row
            same = (self.vectors([row for _, row in known]) == vectors[[place for place, _ in known]]).all(axis=1)
            skip = {place for (place, _), equal in zip(known, same, strict=True) if equal}
            kept = [place for place in range(len(ids)) if place not in skip]
            ids, vectors = [ids[place] for place in kept], vectors[kept]
        for id in ids:
            self.discard(id)
            self.row_of[id] = len(self._ids)
            self._ids.append(id)
        for start in range(0, len(ids), CHUNK):
            self._index.add(np.ascontiguousarray(vectors[start : start + CHUNK]))

    def discard(self, id: str) -> None:
        row = self.row_of.pop(id, None)
        if row is not None:
            self._ids[row] = None

    def vectors(self, rows: Sequence[int]) -> Vector:
        if not rows:
            return np.empty((0, 0), np.float32)
        found: Vector = faiss.rev_swig_ptr(self._index.get_xb(), len(self._ids) * self._index.d)
        return found.reshape(len(self._ids), self._index.d)[list(rows)]

    def without(self, ids: Iterable[str] = ()) -> Rows:
        """A copy that has neither dead rows nor these."""
        gone, fresh = set(ids), Rows()
        left = [(id, row) for id, row in self.row_of.items() if id not in gone]
        if left:
            fresh.put([id for id, _ in left], self.vectors([row for _, row in left]))
        return fresh

    def search(self, query: Vector, limit: int) -> list[tuple[float, str]]:
        if not self.row_of:
            return []
        return search(self._index, query, limit, size=len(self._ids), live=len(self), id_of=self._ids.__getitem__)
