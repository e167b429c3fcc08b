"""A router on disk: a folder with `router.json`, `weights.npz` and, for some, an ONNX model. Nothing is ever unpickled.

`router.json` is written last, so that a folder without it was never finished.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rar.embedding import Embedder, as_embedder
from rar.errors import RarError, RouterFileError

SCHEMA = 1
ABOUT, WEIGHTS = "router.json", "weights.npz"


@dataclass(frozen=True)
class Saved:
    """What a folder holds: which router, its constructor arguments, more facts, and what it learned."""

    folder: Path
    router: str
    config: Mapping[str, Any]
    about: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]] = field(repr=False)

    @property
    def where(self) -> str:
        return str(self.folder)


def write(
    folder: Path,
    router: str,
    config: Mapping[str, Any],
    about: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
    write_files: Callable[[Path], None],
) -> Path:
    facts = {"format": "rar-router", "schema": SCHEMA, "router": router, "config": dict(config), **about}
    # Before anything is replaced: what cannot be written leaves an older router as it is.
    content = json.dumps(facts, indent=1, ensure_ascii=False, default=np.generic.item) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ABOUT).unlink(missing_ok=True)
    np.savez_compressed(folder / WEIGHTS, **arrays)  # type: ignore[arg-type]  # a mapping may hold any keyword
    write_files(folder)
    (folder / ABOUT).write_text(content, "utf-8")
    return folder


def read(folder: Path) -> Saved:
    """The content of a folder.

    Raises:
        RouterFileError: It is missing, unfinished, damaged, something else, or of a newer version.
    """
    file = folder / ABOUT
    if not file.is_file():
        raise RouterFileError(str(folder), f"there is no {ABOUT} in it")
    try:
        facts = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise RouterFileError(str(folder), f"{ABOUT} is damaged ({error})") from error
    if not isinstance(facts, dict) or facts.pop("format", None) != "rar-router":
        raise RouterFileError(str(folder), f"{ABOUT} is not that of a router")
    schema = facts.pop("schema", None)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise RouterFileError(
            str(folder), f"it has schema {schema}, this version reads up to {SCHEMA}; upgrade rar-llm"
        )
    try:
        with (folder / WEIGHTS).open("rb") as content, np.load(content, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise RouterFileError(str(folder), f"{WEIGHTS} is missing or damaged ({error})") from error
    try:
        return Saved(folder, facts.pop("router"), facts.pop("config"), facts, arrays)
    except KeyError as error:
        raise RouterFileError(str(folder), f"{ABOUT} lacks {error}") from error


@contextmanager
def blamed(saved: Saved) -> Iterator[None]:
    """What a damaged file makes constructors and array look-ups raise, said as what it is."""
    try:
        yield
    except RarError:
        raise
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise RouterFileError(saved.where, f"its parts do not fit together ({error!r})") from error


def embedder_of(saved: Saved) -> Embedder:
    """The built-in embedder that a router was fitted with; it is looked up without loading weights."""
    embedder_id = saved.about["embedder"]["id"]
    for start, name in {"all-MiniLM-L6-v2": "minilm", "hashing-": "hashing"}.items():
        if embedder_id.startswith(start):
            return as_embedder(name)
    raise RouterFileError(
        saved.where,
        f"it was fitted with embedder {embedder_id!r}, which is none of the built-in ones; pass it as embedder=",
    )
