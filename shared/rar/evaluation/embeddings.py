"""Embeddings that are made once and kept on disk, so that a replay costs no second embedding of the same text."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rar.caching import cached_file
from rar.embedding import Embedder, as_embedder
from rar.errors import ConfigurationError
from rar.naming import shown
from rar.outcomes import Outcomes
from rar.values import Vector

T = TypeVar("T", bound=Outcomes)
_CHUNK = 256  # texts after which what was embedded is on disk

Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all


class DiskCachedEmbedder:
    """Keeps vectors by a hash of their text, no text, in a file for each embedder. Safe between threads and processes.

    `id` and `dim` are the embedder's.

    Args:
        folder: None for the cache folder (`rar.caching`).
        progress: Told how many of the texts that were not known are embedded.
    """

    def __init__(self, embedder: Embedder, folder: Path | None = None, progress: Progress | None = None) -> None:
        self.embedder, self.id, self.dim = embedder, embedder.id, embedder.dim
        name = re.sub(r"[^\w.-]+", "_", self.id)
        kept = f"embeddings/{name}.sqlite"
        self.file = cached_file(kept) if folder is None else folder / kept
        self._progress = progress

    def __repr__(self) -> str:
        return f"DiskCachedEmbedder({shown(self.embedder)})"

    def embed(self, texts: Sequence[str]) -> Vector:
        """As the embedder's; a stop loses at most a few hundred texts."""
        keys = [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.file, timeout=60.0)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")
            known = self._known(connection, keys)
            missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
            for start in range(0, len(missing), _CHUNK):
                chunk = dict(list(missing.items())[start : start + _CHUNK])
                vectors = np.asarray(self.embedder.embed(list(chunk.values())), np.float32)
                known |= dict(zip(chunk, vectors, strict=True))
                with connection:
                    connection.executemany(
                        "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
                        [(key, vector.tobytes()) for key, vector in zip(chunk, vectors, strict=True)],
                    )
                if self._progress is not None:
                    self._progress("embedding", start + len(chunk), len(missing))
        return np.array([known[key] for key in keys], np.float32).reshape(len(texts), self.dim)

    def _known(self, connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        known: dict[bytes, Vector] = {}
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))
            rows = connection.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part)  # noqa: S608 - marks only
            known |= {key: np.frombuffer(vector, np.float32) for key, vector in rows}
        return known


class KnownVectors:
    """The embedder of tables whose vectors are known: it looks texts up and embeds none."""

    def __init__(self, *tables: Outcomes) -> None:
        self._vectors: dict[str, Vector] = {}
        for table in tables:
            if table.vectors is None:
                raise ConfigurationError("This table has no vectors. Pass it through `rar.evaluation.embedded` first.")
            self._vectors |= dict(zip(table.texts, table.vectors, strict=True))
            self.id, self.dim = table.embedder_id, int(table.vectors.shape[1])

    def embed(self, texts: Sequence[str]) -> Vector:
        return np.array([self._vectors[text] for text in texts], np.float32).reshape(len(texts), self.dim)


def embedded(table: T, embedder: Any = "minilm", *, progress: Progress | None = None) -> T:
    """Outcomes with the vectors of their texts, as they are where they have them. A user's cache folder keeps them."""
    if table.vectors is not None:
        return table
    cached = DiskCachedEmbedder(as_embedder(embedder), progress=progress)
    return replace(table, vectors=cached.embed(table.texts), embedder_id=cached.id)
