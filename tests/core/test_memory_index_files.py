"""The files of the read model: used where they fit, made anew where they do not, and rid of what was deleted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from rar.memory import index as index_module
from rar.memory import index_files, segments
from rar.memory.base import Batch
from rar.memory.index_files import IndexFiles
from rar.memory.sqlite import SQLiteMemory
from rar.values import Experience, Vector
from tests.contract.memory import experience, guide

DIM, COUNT = 32, 300


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes at which there are files for a hundred vectors."""
    monkeypatch.setattr(index_module, "FLAT_UP_TO", 100)
    monkeypatch.setattr(index_module, "SAVE_AFTER", 20)


def vectors(count: int = COUNT, seed: int = 0) -> dict[str, Vector]:
    found = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return {f"{seed}-{n:04}": vector for n, vector in enumerate(found)}


def batch(given: dict[str, Vector], **fields: Any) -> Batch:
    return Batch(tuple(experience(id, vector, **fields) for id, vector in given.items()))


def found(memory: SQLiteMemory, query: Vector, limit: int = 1, namespace: str = "default") -> list[str]:
    matches = memory.search(query, namespace=namespace, task="answer", limit=limit)
    return [match.experience.id for match in matches]


def files(path: Path) -> list[Path]:
    return sorted(file for file in path.parent.iterdir() if "-index" in file.name)


def on_disk(path: Path, vector: Vector) -> bool:
    """Whether this embedding, as a graph or a list keeps it, is in a file of the index."""
    kept = (vector.astype("<f2").tobytes(), vector.astype("<f4").tobytes())
    return any(part in file.read_bytes() for file in files(path) for part in kept)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a closed memory whose index is in files."""
    path = tmp_path / "rar.db"
    with SQLiteMemory(path) as memory:
        memory.write(batch(vectors()))
        found(memory, vectors()["0-0000"])
        memory.settle()
    assert len(files(path)) == 2
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many changes each look at a log gave."""
    pages: list[int] = []
    changes = SQLiteMemory.changes

    def counted(self: SQLiteMemory, *args: Any, **options: Any) -> Any:
        page = changes(self, *args, **options)
        pages.append(len(page.experiences) + len(page.guides) + len(page.deleted))
        return page

    monkeypatch.setattr(SQLiteMemory, "changes", counted)
    return pages


@pytest.mark.parametrize("read_only", [False, True])
def test_a_process_begins_with_the_files_and_reads_only_what_is_newer(
    path: Path, read: list[int], read_only: bool
) -> None:
    with SQLiteMemory(path) as memory:
        memory.write(batch(vectors(5, seed=1)))
    with SQLiteMemory(path, read_only=read_only) as memory:
        for given in (vectors(), vectors(5, seed=1)):
            for id in list(given)[:5]:
                assert found(memory, given[id]) == [id]
        assert sum(read) == 5
        memory.settle()
    assert len(files(path)) == 2


def test_only_the_owner_may_read_the_files(path: Path) -> None:
    assert {file.stat().st_mode & 0o777 for file in files(path)} == {0o600}


def test_a_small_or_private_memory_has_no_files(tmp_path: Path) -> None:
    with SQLiteMemory(tmp_path / "rar.db") as memory, SQLiteMemory(":memory:") as private:
        memory.write(batch(vectors(50)))
        private.write(batch(vectors()))
        for one in (memory, private):
            found(one, vectors()["0-0000"])
            one.settle()

        assert files(tmp_path / "rar.db") == files(Path(private._path)) == []


def test_what_was_learned_since_is_written_when_it_is_much(path: Path, read: list[int]) -> None:
    with SQLiteMemory(path) as memory:
        memory.write(batch(vectors(60, seed=1)))
        found(memory, vectors()["0-0000"])
        memory.settle()
    del read[:]
    with SQLiteMemory(path) as memory:
        assert found(memory, vectors(60, seed=1)["1-0042"]) == ["1-0042"]
        assert sum(read) == 0


def test_guides_and_namespaces_are_kept_apart_in_the_files(path: Path, read: list[int]) -> None:
    given = vectors(60, seed=1)
    with SQLiteMemory(path) as memory:
        guides = tuple(guide(f"g{id}", vector, state="active") for id, vector in list(given.items())[:10])
        memory.write(Batch(batch(given, namespace="other").experiences, guides))
        found(memory, given["1-0000"])
        memory.settle()
    del read[:]
    with SQLiteMemory(path) as memory:
        query = given["1-0003"]
        assert found(memory, query, namespace="other") == ["1-0003"]
        assert found(memory, query) != ["1-0003"]
        hits = memory.search_guides(query, namespace="default", task="answer", limit=1)
        assert [hit.guide.id for hit in hits] == ["g1-0003"]
        assert sum(read) == 0


# ── what does not fit ──


def damage_list(path: Path) -> None:
    data = bytearray((list_of := files(path)[0]).read_bytes())
    data[len(data) // 2] ^= 1
    list_of.write_bytes(data)


def cut_segment(path: Path) -> None:
    segment = files(path)[1]
    segment.write_bytes(segment.read_bytes()[:-100])


def garble_links(path: Path) -> None:
    """Links far outside of the graph."""
    segment = files(path)[1]
    index = faiss.read_index(str(segment))
    data = segment.read_bytes()
    links = faiss.rev_swig_ptr(index.hnsw.neighbors.data(), index.hnsw.neighbors.size())
    at = data.index(links.tobytes())
    segment.write_bytes(data[:at] + b"\x7f" * links.nbytes + data[at + links.nbytes :])


def lose_segment(path: Path) -> None:
    files(path)[1].unlink()


def empty_list(path: Path) -> None:
    files(path)[0].write_bytes(b"")


def point_elsewhere(path: Path) -> None:
    """A list, whole by its checksum, that names a file of somebody else."""
    data = files(path)[0].read_bytes()
    _, _, length = index_files._HEAD.unpack_from(data)
    body = data[index_files._HEAD.size :]
    header = json.loads(body[:length])
    header["shards"][0]["segments"][0]["file"] = "../secret"
    changed = json.dumps(header).encode()
    body = changed + body[length:]
    head = index_files._HEAD.pack(b"RARINDEX", index_files.zlib.crc32(body), len(changed))
    files(path)[0].write_bytes(head + body)


@pytest.mark.parametrize("damage", [damage_list, cut_segment, garble_links, lose_segment, empty_list, point_elsewhere])
def test_damaged_files_are_made_anew(path: Path, damage: Any, read: list[int]) -> None:
    damage(path)
    with SQLiteMemory(path) as memory:
        for id, vector in list(vectors().items())[:5]:
            assert found(memory, vector) == [id]
        assert sum(read) == COUNT
        memory.settle()
    del read[:]
    with SQLiteMemory(path) as memory:
        assert found(memory, vectors()["0-0007"]) == ["0-0007"]
        assert sum(read) == 0


def test_damage_that_harms_no_search_is_found_afterwards(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    segment = files(path)[1]
    data = bytearray(segment.read_bytes())
    at = data.index(vectors()["0-0007"].astype("<f2").tobytes())
    data[at : at + 2 * DIM] = bytes(2 * DIM)
    segment.write_bytes(data)

    with SQLiteMemory(path) as memory:
        found(memory, vectors()["0-0001"])
        memory.settle()
        assert found(memory, vectors()["0-0007"]) == ["0-0007"]
    assert "damaged" in caplog.text


def test_files_of_another_version_or_memory_are_not_used(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[int]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(index_files, "VERSION", 99)
        with SQLiteMemory(path) as memory:
            found(memory, vectors()["0-0000"])
            memory.settle()
        assert read.pop(0) == COUNT
    other = tmp_path / "other" / "rar.db"
    with SQLiteMemory(other) as memory:
        memory.write(batch(vectors(150, seed=1)))
        for file in files(path):
            (other.parent / file.name).write_bytes(file.read_bytes())
        del read[:]
        assert found(memory, vectors(150, seed=1)["1-0003"]) == ["1-0003"]
        assert sum(read) == 150
        memory.settle()


def test_files_that_are_newer_than_a_restored_backup_are_not_used(path: Path, read: list[int]) -> None:
    backup = path.read_bytes()
    with SQLiteMemory(path) as memory:
        memory.write(batch(vectors(60, seed=1)))
        found(memory, vectors()["0-0000"])
        memory.settle()
    path.write_bytes(backup)
    with SQLiteMemory(path) as memory:
        memory.write(batch(vectors(80, seed=2)))
        del read[:]
        assert found(memory, vectors(80, seed=2)["2-0003"]) == ["2-0003"]
        assert sum(read) == COUNT + 80


def test_a_folder_that_cannot_be_written_has_no_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in files(path):
        file.unlink()
    monkeypatch.setattr(IndexFiles, "_acquire", lambda self, seconds: False)
    with SQLiteMemory(path) as memory:
        assert found(memory, vectors()["0-0007"]) == ["0-0007"]
        memory.settle()
        assert found(memory, vectors()["0-0007"]) == ["0-0007"]

    assert files(path) == []


# ── deletion ──


@pytest.mark.parametrize("by", ["id", "namespace"])
def test_what_was_deleted_leaves_the_files(path: Path, by: str, read: list[int]) -> None:
    gone = vectors()["0-0007"]
    assert on_disk(path, gone)
    with SQLiteMemory(path) as memory:
        memory.delete(ids=["0-0007"]) if by == "id" else memory.delete(namespace="default")
        assert not on_disk(path, gone)
        assert not any(b"0-0007" in file.read_bytes() for file in files(path))
        assert found(memory, gone) != ["0-0007"]
        memory.settle()
    del read[:]
    with SQLiteMemory(path) as memory:
        assert found(memory, vectors()["0-0008"]) == (["0-0008"] if by == "id" else [])
        assert found(memory, gone) != ["0-0007"]
        assert sum(read) == 0


def test_what_was_deleted_leaves_the_list_of_what_is_in_no_graph(path: Path) -> None:
    late = vectors(60, seed=1)
    with SQLiteMemory(path) as memory:
        memory.write(batch(late))
        found(memory, late["1-0000"])
        memory.settle()
        assert on_disk(path, late["1-0003"])
        memory.delete(ids=["1-0003"])
        assert not on_disk(path, late["1-0003"])


def test_a_process_with_other_graphs_brings_nothing_back(path: Path) -> None:
    gone = vectors()["0-0007"]
    with SQLiteMemory(path) as server, SQLiteMemory(path) as command:
        found(server, gone)
        command.delete(ids=["0-0007"])
        assert not on_disk(path, gone)
        server.write(batch(vectors(60, seed=1)))
        found(server, gone)
        server.settle()
        assert not on_disk(path, gone)
        server.write(batch(vectors(200, seed=2)))
        found(server, gone)
        server.settle()
        assert found(server, vectors(200, seed=2)["2-0150"]) == ["2-0150"]
        assert not on_disk(path, gone)


def test_files_are_removed_where_they_cannot_be_written_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SQLiteMemory(path) as memory:
        monkeypatch.setattr(index_files, "write", lambda *args: 1 / 0)
        memory.delete(ids=["0-0007"])

        assert files(path) == []
        assert found(memory, vectors()["0-0008"]) == ["0-0008"]


def test_a_deletion_that_was_cut_short_leaves_no_files_that_fit(
    path: Path, monkeypatch: pytest.MonkeyPatch, read: list[int]
) -> None:
    with SQLiteMemory(path) as memory:
        monkeypatch.setattr(memory._index, "forget", lambda: None)  # as if the process died there
        memory.delete(ids=["0-0007"])
    del read[:]
    with SQLiteMemory(path) as memory:
        assert found(memory, vectors()["0-0008"]) == ["0-0008"]
        assert sum(read) == COUNT - 1
        assert not on_disk(path, vectors()["0-0007"])


def test_nothing_is_written_that_was_deleted_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = vectors()["0-0007"]
    encoded = IndexFiles._encoded
    with SQLiteMemory(path) as writer, SQLiteMemory(path) as command:
        found(writer, gone)
        monkeypatch.setattr(index_module.FaissIndex, "forget", lambda self: self._files.remove())

        def slow(self: IndexFiles, *args: Any) -> bytes:
            data = encoded(self, *args)
            monkeypatch.setattr(IndexFiles, "_encoded", encoded)
            command.delete(ids=["0-0007"])
            return data

        monkeypatch.setattr(IndexFiles, "_encoded", slow)
        writer.write(batch(vectors(60, seed=1)))
        found(writer, gone)
        writer.settle()

        assert not on_disk(path, gone)


# ── several processes ──


def test_one_process_writes_at_a_time_and_a_dead_ones_lock_is_broken(path: Path) -> None:
    lock = Path(f"{path}-index-lock")
    lock.touch()
    with SQLiteMemory(path) as memory:
        before = files(path)[0].read_bytes()
        memory.write(batch(vectors(60, seed=1)))
        found(memory, vectors()["0-0000"])
        memory.settle()
        assert files(path)[0].read_bytes() == before

        os.utime(lock, (0, 0))
        memory.write(batch(vectors(60, seed=2)))
        found(memory, vectors()["0-0000"])
        memory.settle()
        assert files(path)[0].read_bytes() != before
    assert not lock.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_begins_with_the_files(path: Path) -> None:
    with SQLiteMemory(path) as memory:
        assert found(memory, vectors()["0-0007"]) == ["0-0007"]
        child = os.fork()
        if child == 0:  # pragma: no cover - runs in the child
            status = 1
            try:
                memory.write(batch(vectors(60, seed=1)))
                right = found(memory, vectors()["0-0007"]) == ["0-0007"]
                memory.settle()
                status = 0 if right and found(memory, vectors(60, seed=1)["1-0003"]) == ["1-0003"] else 1
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert found(memory, vectors(60, seed=1)["1-0003"]) == ["1-0003"]
        memory.settle()


WORKER = """
import sys
from rar.memory import index
index.FLAT_UP_TO, index.SAVE_AFTER = 100, 20
from rar.memory.sqlite import SQLiteMemory
from tests.core.test_memory_index_files import batch, found, vectors
with SQLiteMemory(sys.argv[1]) as memory:
    for turn in range(5):
        given = vectors(60, seed=int(sys.argv[2]) * 10 + turn)
        memory.write(batch(given))
        for id in list(given)[:5]:
            assert found(memory, given[id]) == [id], id
    memory.settle()
"""


def test_processes_that_learn_side_by_side_leave_files_that_fit(path: Path, read: list[int]) -> None:
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(path), str(n)]) for n in (1, 2, 3)]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0]

    with SQLiteMemory(path) as memory:
        for worker in (1, 2, 3):
            given = vectors(60, seed=worker * 10 + 4)
            assert [found(memory, given[id]) for id in list(given)[:5]] == [[id] for id in list(given)[:5]]
        assert sum(read) < COUNT
        assert memory.stats().experiences == COUNT + 3 * 5 * 60
        memory.settle()
    assert all(IndexFiles(path, memory)._ours.fullmatch(file.name) for file in files(path))


# ── segments ──


def test_many_vectors_are_kept_in_8_bits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(segments, "FINE_UP_TO", 200)
    path = tmp_path / "rar.db"
    for _ in range(2):
        with SQLiteMemory(path) as memory:
            memory.write(batch(vectors()))
            match = memory.search(vectors()["0-0007"], namespace="default", task="answer", limit=1)[0]
            memory.settle()
            assert match.experience.id == "0-0007"
            assert match.similarity == pytest.approx(1.0, abs=0.01)
    assert files(path)[1].stat().st_size < COUNT * (DIM + 4 * 2.5 * segments.HNSW_LINKS + 8 + 4 + 16)


def test_a_repeated_record_takes_no_new_place(path: Path) -> None:
    with SQLiteMemory(path) as memory:
        memory.write(batch(vectors(), text="the same vectors in other words"))
        assert found(memory, vectors()["0-0007"]) == ["0-0007"]
        assert len(memory._index._shards["default", "answer", ""].rows) == 0
        kept: Experience | None = memory.experience("0-0007")
        assert kept is not None
        assert kept.text == "the same vectors in other words"
        memory.settle()
