"""The FAISS read model follows a log, whatever its size, and searches never wait for a rebuild."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from rar.memory import index as module
from rar.memory.base import Changes
from rar.memory.index import FaissIndex
from rar.memory.segments import Segment
from rar.values import Vector
from tests.contract.memory import EAST, NORTH, UP, experience, guide

KEY = ("default", "answer", "")
DIM = 32


class Log:
    """A memory's log with one entry for each call of `add`."""

    def __init__(self) -> None:
        self.entries: list[Changes] = []

    def add(self, embeddings: dict[str, Vector], deleted: tuple[str, ...] = ()) -> None:
        experiences = tuple(experience(id, vector) for id, vector in embeddings.items())
        self.entries.append(Changes(len(self.entries) + 1, experiences, deleted=deleted))

    def changes(self, since: int, *, began: int) -> Changes:
        if since >= len(self.entries):
            return Changes(since)
        entry = self.entries[since]
        return Changes(entry.cursor, entry.experiences, entry.guides, entry.deleted, more=since + 1 < len(self.entries))


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def index(log: Log) -> Iterator[FaissIndex]:
    index = FaissIndex(log.changes)
    yield index
    index.close()


@pytest.fixture
def pending(index: FaissIndex, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """The rebuilds that were started, which run when the test says so."""
    rebuilds: list[Callable[[], None]] = []
    monkeypatch.setattr(index._builds, "start", rebuilds.append)
    return rebuilds


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes at which a graph takes over at a hundred vectors."""
    monkeypatch.setattr(module, "FLAT_UP_TO", 100)


def clustered(count: int, seed: int = 0) -> dict[str, Vector]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, count // 20), DIM))
    vectors = centres[rng.integers(len(centres), size=count)] + 0.5 * rng.normal(size=(count, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return {f"{seed}-{n:05}": vector for n, vector in enumerate(vectors.astype(np.float32))}


def ids(index: FaissIndex, query: Vector, limit: int = 10) -> list[str]:
    return [id for _, id in index.search(query, KEY, limit)]


def in_graphs(index: FaissIndex) -> int:
    """Vectors that are in segments."""
    return sum(segment.live for segment in index._shards[KEY].segments)


def exact(vectors: dict[str, Vector], query: Vector, limit: int = 10) -> list[str]:
    return sorted(vectors, key=lambda id: (-round(float(vectors[id] @ query), 6), id))[:limit]


def test_a_small_shard_is_searched_exactly(log: Log, index: FaissIndex) -> None:
    vectors = clustered(500)
    log.add(vectors)
    index.follow()

    for query in clustered(20, seed=1).values():
        assert ids(index, query) == exact(vectors, query)


def test_a_large_shard_is_searched_with_a_recall_of_95_percent(log: Log, index: FaissIndex) -> None:
    vectors = clustered(module.FLAT_UP_TO + 500)
    log.add(vectors)
    index.follow()
    index.wait()

    assert in_graphs(index) == len(vectors)
    recalls = [
        len(set(ids(index, query)) & set(exact(vectors, query))) / 10 for query in list(clustered(50, seed=1).values())
    ]
    assert np.mean(recalls) >= 0.95


def test_searches_and_changes_go_on_while_a_graph_is_built(
    log: Log, index: FaissIndex, small: None, pending: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = clustered(150)
    log.add(vectors)
    index.follow()
    (rebuild,) = pending
    query = next(iter(vectors.values()))
    assert ids(index, query) == exact(vectors, query)

    changed = {**clustered(30, seed=2), "0-00001": query}

    def interrupted(*args: Any) -> Segment | None:
        log.add(changed, deleted=("0-00000", "0-00002"))
        index.follow()
        assert ids(index, query, 1) == ["0-00001"]
        return build(*args)

    build = module.build
    monkeypatch.setattr(module, "build", interrupted)
    rebuild()

    vectors = {id: v for id, v in {**vectors, **changed}.items() if id not in ("0-00000", "0-00002")}
    assert in_graphs(index) == 150 - 3
    assert len(index._shards[KEY].rows) == 31
    assert len(index) == len(vectors)
    assert ids(index, query, 3) == exact(vectors, query, 3)
    assert len(pending) == 1


def test_what_is_new_is_searched_beside_the_graphs(
    log: Log, index: FaissIndex, small: None, pending: list[Callable[[], None]]
) -> None:
    log.add(clustered(150))
    index.follow()
    pending.pop()()
    log.add(clustered(60, seed=2))
    index.follow()

    assert (in_graphs(index), len(index._shards[KEY].rows), pending) == (150, 60, [])
    vectors = {**clustered(150), **clustered(60, seed=2)}
    query = vectors["2-00007"]
    assert ids(index, query, 3) == exact(vectors, query, 3)


def test_small_segments_are_joined_and_large_ones_left_alone(
    log: Log, index: FaissIndex, small: None, pending: list[Callable[[], None]]
) -> None:
    vectors: dict[str, Vector] = {}
    sizes = []
    for seed, count in enumerate((1_000, 110, 110, 110)):
        vectors |= clustered(count, seed=seed)
        log.add(clustered(count, seed=seed))
        index.follow()
        pending.pop()()
        sizes.append([len(segment) for segment in index._shards[KEY].segments])

    assert sizes == [[1_000], [1_000, 110], [1_000, 220], [1_000, 330]]
    assert len(index) == len(vectors)
    for query in list(clustered(20, seed=9).values()):
        assert len(set(ids(index, query)) & set(exact(vectors, query))) >= 8


def test_a_changed_embedding_leaves_its_graph_and_an_unchanged_one_stays(
    log: Log, index: FaissIndex, small: None, pending: list[Callable[[], None]]
) -> None:
    vectors = clustered(150)
    log.add(vectors)
    index.follow()
    pending.pop()()
    moved = next(iter(clustered(1, seed=2).values()))
    log.add({"0-00000": moved, "0-00001": vectors["0-00001"]})
    index.follow()

    assert (in_graphs(index), list(index._shards[KEY].rows.row_of)) == (149, ["0-00000"])
    assert ids(index, moved, 1) == ["0-00000"]
    log.add({}, deleted=("0-00000", "0-00001"))
    index.follow()
    assert (in_graphs(index), len(index)) == (148, 148)


def test_ids_that_no_graph_can_hold_are_found_beside_it(
    log: Log, index: FaissIndex, small: None, pending: list[Callable[[], None]]
) -> None:
    odd = {"": EAST, "nul\0": NORTH, "x" * 300: UP}
    padded = {id: np.pad(vector, (0, DIM - len(vector))) for id, vector in odd.items()}
    log.add({**clustered(150), **padded, "\ud800": np.pad(-UP, (0, DIM - len(UP)))})
    index.follow()
    pending.pop()()
    index.follow()

    assert (in_graphs(index), set(index._shards[KEY].rows.row_of), pending) == (151, set(odd), [])
    for id, vector in padded.items():
        assert ids(index, vector, 1) == [id]
    assert ids(index, np.pad(-UP, (0, DIM - len(UP))), 1) == ["\ud800"]


@pytest.mark.parametrize("size", [90, 150])
def test_what_was_deleted_is_not_found_and_does_not_crowd_out_the_rest(
    log: Log, index: FaissIndex, small: None, pending: list[Callable[[], None]], size: int
) -> None:
    vectors = clustered(size)
    log.add(vectors)
    index.follow()
    if pending:
        pending.pop()()
    query = vectors["0-00000"]
    gone = exact(vectors, query, size // 6)
    log.add({}, deleted=tuple(gone))
    index.follow()

    left = {id: vector for id, vector in vectors.items() if id not in gone}
    assert pending == []
    assert len(ids(index, query)) == 10
    assert ids(index, query, 3) == exact(left, query, 3)


def test_dead_rows_are_swept_out_when_they_are_many(log: Log, index: FaissIndex) -> None:
    vectors = clustered(300)
    log.add(vectors)
    gone = tuple(list(vectors)[:100])
    log.add({}, deleted=gone)
    index.follow()

    assert index._shards[KEY].rows.dead == 0

    left = {id: vector for id, vector in vectors.items() if id not in gone}
    assert ids(index, vectors[gone[0]]) == exact(left, vectors[gone[0]])


def test_an_unchanged_embedding_takes_no_new_row(log: Log, index: FaissIndex) -> None:
    log.add({"a": EAST, "b": NORTH})
    log.add({"a": EAST, "b": UP})
    index.follow()

    assert index._shards[KEY].rows.dead == 1
    assert ids(index, EAST, 1) == ["a"]
    assert ids(index, NORTH, 2) == ["a", "b"]


def test_ties_are_ordered_by_id_in_a_crowd_of_equals(log: Log, index: FaissIndex) -> None:
    log.add({f"{n:03}": EAST for n in reversed(range(300))})
    index.follow()

    assert ids(index, EAST, 5) == ["000", "001", "002", "003", "004"]


def test_embeddings_without_direction_are_like_nothing(log: Log, index: FaissIndex) -> None:
    log.add({"nan": EAST * np.nan, "zero": EAST * 0, "inf": EAST + np.inf, "good": EAST * 5})
    index.follow()

    assert index.search(EAST, KEY, 9) == [(1.0, "good"), (0.0, "inf"), (0.0, "nan"), (0.0, "zero")]


def test_a_guide_moves_with_its_state(log: Log, index: FaissIndex) -> None:
    log.entries.append(Changes(1, guides=(guide("g", state="candidate"),)))
    index.follow()
    assert index.search(EAST, ("default", "answer", "candidate"), 1) == [(1.0, "g")]
    log.entries.append(Changes(2, guides=(guide("g", state="active"),)))
    index.follow()

    assert index.search(EAST, ("default", "answer", "candidate"), 1) == []
    assert index.search(EAST, ("default", "answer", "active"), 1) == [(1.0, "g")]


def test_the_cursor_tells_only_what_can_be_searched(log: Log) -> None:
    seen: list[int] = []

    def changes(since: int, *, began: int) -> Changes:
        seen.append(index.cursor)
        return log.changes(since, began=began)

    index = FaissIndex(changes)
    log.add({"a": EAST})
    log.add({"b": NORTH})
    index.follow()

    assert (seen, index.cursor) == ([0, 0], 2)


def test_a_reset_log_is_followed_from_its_start() -> None:
    answers = iter(
        [Changes(7, (experience("old"),)), Changes(0, more=True, reset=True), Changes(3, (experience("new"),))]
    )
    index = FaissIndex(lambda since, *, began: next(answers))
    index.follow()
    assert ids(index, EAST) == ["old"]
    index.follow()

    assert ids(index, EAST) == ["new"]


def test_closing_gives_up_a_rebuild(
    log: Log, index: FaissIndex, small: None, pending: list[Callable[[], None]]
) -> None:
    log.add(clustered(150))
    index.follow()
    index.close()
    pending.pop()()

    assert in_graphs(index) == 0
    assert len(ids(index, EAST.repeat(DIM // len(EAST)))) == 10
