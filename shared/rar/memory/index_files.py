"""The read model's files beside a memory: a list of what is where, and a file for each segment.

Nothing in them is needed: they are checked when they are read, and made anew where they do not fit. A token that is
kept in the memory, too, says that they are of this memory and of its present.

    rar.db-index                    the list; it takes the place of the last one at once
    rar.db-index-0123456789abcdef   a segment, which never changes
    rar.db-index-lock, -new         while one process writes
"""

from __future__ import annotations

import json
import os
import re
import secrets
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np

from rar.memory.segments import BrokenSegment, Segment, checksum, read, write
from rar.values import Vector

Key = tuple[str, str, str]  # namespace, task, and "" for experiences or the state of guides

VERSION = 1
_MAGIC = b"RARINDEX"
_HEAD = struct.Struct("<8sIQ")  # magic, checksum of what follows, bytes of the JSON that begins it
_GIVEN_UP = 120.0  # seconds after which whoever holds the lock is taken to be dead


class Anchor(Protocol):
    """The memory that the files belong to."""

    def index_token(self) -> str | None:
        """What the files were last marked with; None after a deletion."""
        ...

    def set_index_token(self, token: str, epoch: int) -> bool:
        """Mark the files, unless something was deleted since `epoch`; whether that was done."""
        ...

    @property
    def read_only(self) -> bool: ...


@dataclass(frozen=True)
class Shot:
    """What a shard holds: segments, and the ids and vectors that are in none."""

    segments: tuple[Segment, ...]
    ids: list[str]
    vectors: Vector

    def __len__(self) -> int:
        return len(self.ids) + sum(segment.live for segment in self.segments)


@dataclass(frozen=True)
class Picture:
    """What an index held when it had followed the log up to `cursor` and knew of all deletions up to `epoch`."""

    cursor: int
    shards: dict[Key, Shot]
    epoch: int = 0

    def segments(self) -> Iterator[Segment]:
        return (segment for shot in self.shards.values() for segment in shot.segments)


@dataclass(frozen=True)
class Written:
    """What the files are up to date with, and the segments that were written, by what they stand for."""

    cursor: int
    segments: dict[Segment, Segment]


class IndexFiles:
    """The files of one memory. Several processes may use them at once.

    Args:
        path: The memory's file.
    """

    def __init__(self, path: Path, anchor: Anchor) -> None:
        self._path, self._anchor = path, anchor
        self._list, self._lock, self._new = (Path(f"{path}-index{end}") for end in ("", "-lock", "-new"))
        self._ours = re.compile(re.escape(path.name) + r"-index(?:-lock|-new|-[0-9a-f]{16})?")
        self._sums: dict[Path, int] = {}  # of the segments that were read or written

    def exist(self) -> bool:
        return any(True for _ in self._all())

    def remove(self) -> None:
        """Take all of them away, also from a process that is writing some."""
        if not self._anchor.read_only:
            for file in sorted(self._all(), key=lambda file: file != self._new):  # what is not finished never will be
                _unlink(file)

    def read(self) -> Picture | None:
        """What the files hold; None where there is nothing that can be used, which is then taken away."""
        try:
            data = self._list.read_bytes()
        except FileNotFoundError:
            return None
        except OSError:
            return None
        try:
            return self._picture(data)
        except (BrokenSegment, OSError, ValueError, KeyError, TypeError, struct.error):
            if not self._lock.exists():  # else they are just being brought up to date
                self.remove()
            return None

    def write(self, picture: Callable[[], Picture], *, seconds: float = 0.0) -> Written | None:
        """Write what is in no file yet, and anew what is in one with dead rows that must not be there.

        Args:
            picture: Called when no other process writes.
            seconds: How long to wait for one that does.
        """
        if self._anchor.read_only or not self._acquire(seconds):
            return None
        files: list[Path] = []
        try:
            taken = picture()
            written: dict[Segment, Segment] = {}
            for segment in taken.segments():
                if segment.path is None or segment.dirty or not segment.path.exists():
                    files.append(self._list.with_name(f"{self._list.name}-{secrets.token_hex(8)}"))
                    written[segment] = write(segment, files[-1])
                    self._sums[files[-1]] = checksum(files[-1])
            token = secrets.token_hex(16)
            with os.fdopen(os.open(self._new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as new:
                new.write(self._encoded(taken, written, token))
            if not self._anchor.set_index_token(token, taken.epoch):
                return None
            self._new.replace(self._list)
            named = {_file(written.get(segment, segment)) for segment in taken.segments()}
            files = [file for file in self._all() if file not in named and file not in (self._list, self._lock)]
            return Written(taken.cursor, written)
        finally:
            for file in (*files, self._new, self._lock):
                _unlink(file)

    def are_whole(self) -> bool:
        """Whether the segments that were read have no damage anywhere. Reads all of them."""
        try:
            return all(checksum(path) == known for path, known in list(self._sums.items()) if path.exists())
        except OSError:
            return True  # one was replaced meanwhile

    def _encoded(self, picture: Picture, written: dict[Segment, Segment], token: str) -> bytes:
        shards: list[dict[str, Any]] = []
        blobs: list[bytes] = []
        for key, shot in picture.shards.items():
            segments = []
            for before in shot.segments:
                segment = written.get(before, before)
                path = _file(segment)
                segments.append(
                    {"file": path.name, "rows": len(segment), "width": segment.ids.dtype.itemsize,
                     "dim": segment.index.d, "sum": self._sums[path]}
                )  # fmt: skip
                blobs.append(np.packbits(before.alive).tobytes())
            blobs.append(np.ascontiguousarray(shot.vectors, "<f4").tobytes())
            shards.append({"key": key, "segments": segments, "ids": shot.ids, "shape": shot.vectors.shape})
        facts = {"version": VERSION, "faiss": faiss.__version__, "token": token, "cursor": picture.cursor}
        header = json.dumps({**facts, "shards": shards}).encode("ascii")
        body = b"".join((header, *blobs))
        return _HEAD.pack(_MAGIC, zlib.crc32(body), len(header)) + body

    def _picture(self, data: bytes) -> Picture:
        magic, known, length = _HEAD.unpack_from(data)
        body = memoryview(data)[_HEAD.size :]
        if magic != _MAGIC or zlib.crc32(body) != known:
            raise ValueError("The list is damaged.")
        header = json.loads(bytes(body[:length]))
        made_by = header["version"], header["faiss"], header["token"]
        if made_by != (VERSION, faiss.__version__, self._anchor.index_token()):
            raise ValueError("The files are of another version, another memory, or another time.")
        shards: dict[Key, Shot] = {}
        self._sums = {}
        at = length
        for shard in header["shards"]:
            segments = []
            for facts in shard["segments"]:
                if not self._ours.fullmatch(facts["file"]):
                    raise ValueError("The list names a file that is none of these.")
                path, packed = self._path.parent / facts["file"], -(-facts["rows"] // 8)
                alive = np.unpackbits(np.frombuffer(body, np.uint8, packed, at), count=facts["rows"]).astype(np.bool_)
                segments.append(read(path, facts["rows"], facts["width"], alive, facts["dim"]))
                self._sums[path] = facts["sum"]
                at += packed
            rows, dim = shard["shape"]
            vectors = np.frombuffer(body, "<f4", rows * dim, at).reshape(rows, dim)
            at += vectors.nbytes
            shards[tuple(shard["key"])] = Shot(tuple(segments), shard["ids"], vectors)
        return Picture(header["cursor"], shards)

    def _all(self) -> Iterator[Path]:
        with suppress(OSError):
            for file in list(self._path.parent.iterdir()):
                if self._ours.fullmatch(file.name):
                    yield file

    def _acquire(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while True:
            try:
                os.close(os.open(self._lock, os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                with suppress(OSError):
                    if time.time() - self._lock.stat().st_mtime > _GIVEN_UP:
                        _unlink(self._lock)
                        continue
                if time.monotonic() >= until:
                    return False
                time.sleep(0.05)
            except OSError:
                return False
            else:
                return True


def _file(segment: Segment) -> Path:
    assert segment.path is not None
    return segment.path


def _unlink(file: Path) -> None:
    with suppress(OSError):  # another process was first, or still maps it on a system where that keeps it
        file.unlink()
