"""Finished parts of a long evaluation on disk, so that a stop loses no more than the part that was being worked on."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

import rar
from rar.evaluation.runs import Arrays
from rar.outcomes import Outcomes, Replies

FOLDER = "checkpoint"  # in that of the report


class Checkpoint:
    """Keeps the parts that it is asked for. A part's file is named by a hash of all that the part depends on.

    One of other rows, other options or another version has another name, so that it is never taken for the same.

    Args:
        folder: Where to; None: parts are made and not kept.
        inputs: What all parts depend on and their names do not say. Only their `repr` counts.
    """

    def __init__(self, folder: Path | None = None, *inputs: object) -> None:
        self.folder = folder
        self._inputs = (rar.__version__, *inputs)
        self._counts: Counter[str] = Counter()

    @property
    def resumed(self) -> int:
        """Parts that were finished before."""
        return self._counts["resumed"]

    @property
    def kept(self) -> int:
        """Parts that are finished now."""
        return self._counts["kept"]

    def within(self, *inputs: object) -> Checkpoint:
        """One in the same folder whose parts depend on more; what it finds and keeps counts here."""
        found = Checkpoint(self.folder)
        found._inputs, found._counts = (*self._inputs, *inputs), self._counts
        return found

    def part(self, name: tuple[object, ...], make: Callable[[], Arrays]) -> Arrays:
        """What `make` gives: read where it was made before, else made and kept."""
        if self.folder is None:
            return make()
        file = self.folder / f"{_hash(*map(repr, (*self._inputs, *name)))}.npz"
        found = _read(file)
        if found is None:
            found = make()
            _write(file, found)
        else:
            self._counts["resumed"] += 1
        self._counts["kept"] += 1
        return found

    def remove(self) -> None:
        """Forget all parts: the evaluation is finished."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def digest(outcomes: Outcomes) -> str:
    """A hash of all that a replay of outcomes depends on."""
    replies = outcomes.replies or Replies()
    numbers = (outcomes.scores, outcomes.samples, outcomes.costs, outcomes.vectors, replies.tokens, replies.usd)
    words: tuple[object, ...] = (
        outcomes.texts,
        outcomes.groups,
        None if replies.texts is None else replies.texts.tolist(),
        outcomes.models,
    )
    arrays = [b"" if values is None else np.ascontiguousarray(values).tobytes() for values in numbers]
    if outcomes.guided is not None:
        said = outcomes.guided.texts
        arrays.append(outcomes.guided.scores.tobytes())
        words = (*words, None if said is None else said.tolist())
    return _hash(*map(repr, (*words, outcomes.weak_ratio, outcomes.embedder_id)), *arrays)


def files_digest(folder: Path) -> str:
    """A hash of the files of a folder."""
    return _hash(
        *(part for file in sorted(folder.glob("*")) if file.is_file() for part in (file.name, file.read_bytes()))
    )


def _hash(*parts: str | bytes) -> str:
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        content = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        found.update(len(content).to_bytes(8, "big") + content)
    return found.hexdigest()


def _read(file: Path) -> Arrays | None:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            names, *arrays = (found[f"arr_{at}"] for at in range(len(found.files)))
            return dict(zip(names.tolist(), arrays, strict=True))
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None  # not made yet, or damaged: it is made anew


def _write(file: Path, arrays: Arrays) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    with unfinished.open("wb") as stream:
        np.savez(stream, np.array(list(arrays), np.str_), *arrays.values())  # names may be any text
    unfinished.replace(file)
