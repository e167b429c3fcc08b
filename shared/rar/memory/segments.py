"""Segments: many vectors that were indexed at once, as a graph that never grows, in memory or mapped from a file."""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from rar.memory.rows import CHUNK, search
from rar.values import Vector

# Measured with 384 dimensions on one core: an exact scan takes 24 us at 1,000 vectors, 78 us at 4,000 and 490 us at
# 10,000, HNSW about 30, 50 and 80 us. On 20,000 mixtures of MiniLM embeddings of questions its recall@10 was .987, and
# it found a stored embedding itself in 99.8 % of searches (with 16 links .977 and 99.4 %).
HNSW_LINKS, HNSW_BUILD, HNSW_SEARCH = 32, 80, 48

# Vectors are kept in half precision, whose cosines are wrong by 0.00004 at most; of more than these in 8 bits (0.002),
# so that a million takes 0.65 GB with its graph.
FINE_UP_TO = 250_000
TRAINED_ON = 20_000  # vectors that tell in what range 8 bits lie

LONGEST_ID = 64  # bytes; what has a longer id is searched apart
_SAME = 4e-3  # in each number of an embedding, by how much it may differ from what it was stored as

Ids = npt.NDArray[np.bytes_]


class BrokenSegment(Exception):  # noqa: N818 - it never leaves this package
    """A file does not hold the segment that it should."""


def fits(id: str) -> bool:
    """Whether a segment can hold this id."""
    return 0 < len(id) <= LONGEST_ID and "\0" not in id and len(_bytes(id)) <= LONGEST_ID


def _bytes(id: str) -> bytes:
    return id.encode("utf-8", "surrogatepass")


@dataclass(eq=False)
class Segment:
    """A graph, the ids of its rows, and which of them are alive. Searched by any number of threads at once.

    Args:
        ids: Of the rows, in UTF-8.
        order: Rows in the order of their ids.
        path: The file that it is mapped from; None while it is in memory only.
        dirty: The file, if any, still holds rows that must not be on a disk any more.
    """

    index: Any
    ids: Ids
    order: npt.NDArray[np.int64]
    path: Path | None = None
    alive: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    dirty: bool = False
    live: int = field(init=False)

    def __post_init__(self) -> None:
        if not len(self.alive):
            self.alive = np.ones(len(self.ids), np.bool_)
        self.live = int(self.alive.sum())

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, query: Vector, limit: int) -> list[tuple[float, str]]:
        if not self.live:
            return []
        return search(self.index, query, limit, size=len(self), live=self.live, id_of=self._id_of)

    def rows_of(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """The rows of these ids that are alive; -1 for an id that has none."""
        width = self.ids.dtype.itemsize
        wanted = [_bytes(id) if fits(id) else b"" for id in ids]
        needles = np.array([id if len(id) <= width else b"" for id in wanted], self.ids.dtype)
        places = np.minimum(np.searchsorted(self.ids, needles, sorter=self.order), len(self) - 1)
        rows = self.order[places]
        missing = (self.ids[rows] != needles) | ~self.alive[rows] | (needles == b"")
        return np.where(missing, -1, rows)

    def bury(self, ids: Sequence[str]) -> bool:
        """Let no search find these ids any more; whether one was found till now."""
        rows = self.rows_of(ids)
        self.alive[rows[rows >= 0]] = False
        before, self.live = self.live, int(self.alive.sum())
        return self.live < before

    def holds(self, ids: Sequence[str], vectors: Vector) -> list[bool]:
        """Whether each of these ids is here, with this very vector."""
        rows = self.rows_of(ids)
        here = np.flatnonzero(rows >= 0)
        held = [False] * len(ids)
        for start in range(0, len(here), CHUNK):
            some = here[start : start + CHUNK]
            apart = np.abs(self.index.reconstruct_batch(rows[some]) - vectors[some]).max(axis=1)
            for place, far in zip(some.tolist(), apart.tolist(), strict=True):
                held[place] = far <= _SAME
        return held

    def vectors(self, rows: npt.NDArray[np.int64]) -> Vector:
        found: Vector = self.index.reconstruct_batch(rows)
        return found

    def id_at(self, row: int) -> str:
        return bytes(self.ids[row]).decode("utf-8", "surrogatepass")

    def _id_of(self, row: int) -> str | None:
        return self.id_at(row) if self.alive[row] else None


# --- making one -----------------------------------------------------------------------------------------------------


def build(ids: list[str], chunks: Callable[[int, int], Vector], stopped: Callable[[], bool]) -> Segment | None:
    """A segment of these ids; None if it was stopped.

    Args:
        chunks: Gives the unit vectors from one place to another, at most `CHUNK` at once.
    """
    fine = len(ids) <= FINE_UP_TO
    kind = faiss.ScalarQuantizer.QT_fp16 if fine else faiss.ScalarQuantizer.QT_8bit
    sample = range(0, len(ids), CHUNK * max(1, len(ids) // TRAINED_ON))
    some = np.concatenate([chunks(start, min(start + CHUNK, len(ids))) for start in sample])
    index: Any = faiss.IndexHNSWSQ(some.shape[1], kind, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)  # type: ignore[arg-type]
    index.hnsw.efConstruction, index.hnsw.efSearch = HNSW_BUILD, HNSW_SEARCH
    index.train(some)
    for start in range(0, len(ids), CHUNK):
        if stopped():
            return None
        index.add(np.ascontiguousarray(chunks(start, min(start + CHUNK, len(ids)))))
    names = np.array(list(map(_bytes, ids)))
    return Segment(index, names, np.argsort(names, kind="stable").astype(np.int64))


# --- files ----------------------------------------------------------------------------------------------------------


def write(segment: Segment, path: Path) -> Segment:
    """The segment in a new file, where nothing of its dead rows is left, and mapped from there."""
    index, ids, order = segment.index, segment.ids, segment.order
    dead = np.flatnonzero(~segment.alive)
    if len(dead):
        index = faiss.deserialize_index(faiss.serialize_index(index))
        _blank(index, dead)
        ids = np.array(ids)
        ids[dead] = b""
        order = np.argsort(ids, kind="stable").astype(np.int64)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    faiss.write_index(index, str(path))
    with path.open("ab") as file:
        file.write(bytes(-file.tell() % 8))
        file.write(np.ascontiguousarray(order).tobytes())
        file.write(np.ascontiguousarray(ids).tobytes())
    return read(path, len(ids), ids.dtype.itemsize, np.array(segment.alive), index.d)


def read(path: Path, rows: int, width: int, alive: npt.NDArray[np.bool_], dim: int) -> Segment:
    """The segment of a file, mapped: only what searches look at is read.

    Raises:
        BrokenSegment: It is not what it should be.
        OSError: It cannot be read.
    """
    tail = rows * (width + 8)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= tail or size % 8 != tail % 8 or not rows or not width or len(alive) != rows:
            raise BrokenSegment(f"{path} has {size} bytes")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise BrokenSegment(str(error)) from None
    order = np.frombuffer(mapped, np.int64, rows, size - tail)
    ids: Ids = np.frombuffer(mapped, f"S{width}", rows, size - rows * width)
    if not (_is_sound(index, rows, dim) and order.min() >= 0 and order.max() < rows):
        raise BrokenSegment(f"{path} holds no graph of {rows} rows")
    return Segment(index, ids, order, path, alive)


def checksum(path: Path) -> int:
    """Of a whole file, without mapping it."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            found = zlib.crc32(block, found)
    return found


def _blank(index: Any, rows: npt.NDArray[np.intp]) -> None:
    """Make these vectors zero, which are still on the ways to others, but tell nothing."""
    storage: Any = faiss.downcast_index(index.storage)
    codes = faiss.rev_swig_ptr(storage.codes.data(), storage.codes.size()).reshape(index.ntotal, -1)
    codes[rows] = storage.sa_encode(np.zeros((1, index.d), np.float32))[0]


def _is_sound(index: Any, rows: int, dim: int) -> bool:
    """Whether a search in the graph stays inside its arrays, whatever a damaged file says."""
    if type(index) is not faiss.IndexHNSWSQ or (index.ntotal, index.d) != (rows, dim):
        return False
    storage: Any = faiss.downcast_index(index.storage)
    graph: Any = index.hnsw
    if (storage.ntotal, storage.d, storage.codes.size()) != (rows, dim, rows * storage.code_size):
        return False
    offsets = faiss.rev_swig_ptr(graph.offsets.data(), graph.offsets.size())
    links = faiss.rev_swig_ptr(graph.neighbors.data(), graph.neighbors.size())
    levels = faiss.rev_swig_ptr(graph.levels.data(), graph.levels.size())
    spans = faiss.vector_to_array(graph.cum_nneighbor_per_level)
    return bool(
        len(offsets) == rows + 1
        and len(levels) == rows
        and levels.min() > 0
        and levels.max() < len(spans)
        and (np.diff(offsets.astype(np.int64)) == spans[levels]).all()
        and offsets[0] == 0
        and offsets[-1] == len(links)
        and links.min() >= -1
        and links.max() < rows
        and 0 <= graph.entry_point < rows
        and graph.max_level < levels[graph.entry_point]
    )
