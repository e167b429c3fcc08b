"""A router on disk: a folder with `router.json`, `weights.npz` and, for some, an ONNX model. Nothing is ever unpickled.

A router is written beside an older one and takes its place when it is whole. `router.json` goes first and comes last,
so that a folder without it was never finished.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from rar.embedding import Embedder, as_embedder
from rar.errors import ConfigurationError, RarError, RouterFileError
from rar.routers.arrays import DAMAGES, load

SCHEMA = 1
_MOST_ABOUT = 64 * 2**20  # bytes of a description
ABOUT, WEIGHTS = "router.json", "weights.npz"
FILES = (ABOUT, WEIGHTS, "model.onnx", "tokenizer.json", "tuned.safetensors")  # that routers have, not each has all
CALIBRATION, SKETCH = "calibration", "fitted_to"  # in the two, since 0.2; older versions pass them over
AGAIN = "fit it again or fetch it again"


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
    write_files: Callable[[Path], None] = lambda _: None,
    *,
    kind: str = "router",
) -> Path:
    """Write a folder, whole or not at all. `kind` is what it holds: a router, or a scorer of replies."""
    facts = {"format": f"rar-{kind}", "schema": SCHEMA, "router": router, "config": dict(config), **about}
    # Before anything is replaced: what cannot be written leaves an older router as it is.
    content = json.dumps(facts, indent=1, ensure_ascii=False, default=np.generic.item) + "\n"
    check_folder(folder, f"A {kind}")
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".saving-", dir=folder) as unfinished:  # on the same disk: renames are enough
        new, old = Path(unfinished, "new"), Path(unfinished, "old")
        new.mkdir()
        old.mkdir()
        np.savez_compressed(new / WEIGHTS, **arrays)  # type: ignore[arg-type]  # a mapping may hold any keyword
        write_files(new)
        (new / ABOUT).write_text(content, "utf-8")
        _replace(folder, new, old)
    return folder


def _is_inside(target: Path, folder: Path) -> bool:
    """Whether a link's target belongs to the folder, or to the cache of a hub that the folder is a snapshot of."""
    folder = folder.resolve()
    blobs = folder.parent.parent / "blobs" if folder.parent.name == "snapshots" else folder
    return target.is_relative_to(folder) or target.is_relative_to(blobs)


def amend(folder: Path, **about: Any) -> None:
    """Write more facts into the description of a saved router, whole or not at all; the rest stays as it is."""
    file = folder / ABOUT
    content = json.dumps({**json.loads(file.read_text("utf-8")), **about}, indent=1, ensure_ascii=False) + "\n"
    with TemporaryDirectory(prefix=".saving-", dir=folder) as unfinished:
        new = Path(unfinished, ABOUT)
        new.write_text(content, "utf-8")
        new.replace(file)


def copy(source: Path, folder: Path) -> Path:
    """Put a saved router into another folder as `write` does, without loading it."""
    saved = read(source)
    check_folder(folder, "A router")
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".saving-", dir=folder) as unfinished:
        new, old = Path(unfinished, "new"), Path(unfinished, "old")
        new.mkdir()
        old.mkdir()
        for name in FILES:
            if (saved.folder / name).is_file():
                shutil.copyfile(saved.folder / name, new / name)
        _replace(folder, new, old)
    return folder


def check_folder(folder: Path, what: str) -> None:
    """Raise `ConfigurationError` where a file is in the way of a folder, or it cannot be made or written into."""
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise ConfigurationError(f"{what} is saved into a folder, and {str(place)!r} is a file. Name another.")
        if place.is_dir():
            if not os.access(place, os.W_OK):
                raise ConfigurationError(f"{what} cannot be saved: {str(place)!r} is not writable. Name another.")
            return


def _replace(folder: Path, new: Path, old: Path) -> None:
    """Rename the files of `new` into `folder`, and those of the router that it held into `old`; all or none."""
    had = [name for name in FILES if (folder / name).is_file()] if (folder / ABOUT).is_file() else []
    comes = sorted((file.name for file in new.iterdir()), key=lambda name: (name == ABOUT, name))
    moves = [(folder / name, old / name) for name in had] + [(new / name, folder / name) for name in comes]
    done = 0
    try:
        for source, target in moves:
            source.replace(target)
            done += 1
    except BaseException:
        for source, target in reversed(moves[:done]):
            target.replace(source)
        raise


def read(folder: Path, *, kind: str = "router") -> Saved:
    """The content of a folder.

    Raises:
        RouterFileError: It is missing, unfinished, damaged, something else, or of a newer version.
    """
    file = folder / ABOUT
    if not file.is_file():
        raise RouterFileError(str(folder), f"there is no {ABOUT} in it")
    for name in FILES:
        if (folder / name).is_symlink() and not _is_inside((folder / name).resolve(), folder):
            # It would be read as ours, and pushed to a hub with the rest.
            raise RouterFileError(str(folder), f"{name} is a link to a file outside of it; copy the file itself there")
    try:
        if file.stat().st_size > _MOST_ABOUT:
            raise ValueError(f"it has more than {_MOST_ABOUT / 1e6:.0f} MB")
        facts = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RouterFileError(str(folder), f"{ABOUT} is damaged ({error}); {AGAIN}") from error
    if not isinstance(facts, dict) or facts.pop("format", None) != f"rar-{kind}":
        raise RouterFileError(str(folder), f"{ABOUT} is not that of a {kind}")
    schema = facts.pop("schema", None)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise RouterFileError(
            str(folder), f"it has schema {schema}, this version reads up to {SCHEMA}; upgrade rar-llm"
        )
    try:
        arrays = dict(load(folder / WEIGHTS))
    except DAMAGES as error:
        raise RouterFileError(str(folder), f"{WEIGHTS} is missing or damaged ({error}); {AGAIN}") from error
    try:
        return Saved(folder, facts.pop("router"), facts.pop("config"), facts, arrays)
    except KeyError as error:
        raise RouterFileError(str(folder), f"{ABOUT} lacks {error}; {AGAIN}") from error


def read_known(folder: Path, *, kind: str, name: str, what: str = "") -> Saved:
    """`read` of a folder that must hold what is called `name`.

    Args:
        what: What it is one of, for the error.

    Raises:
        RouterFileError: As `read`, or it holds another one.
    """
    saved = read(folder, kind=kind)
    if saved.router != name:
        other = f"a {saved.router!r}{what and ' '}{what}"
        raise RouterFileError(saved.where, f"it is {other}, which this version does not know")
    return saved


@contextmanager
def blamed(saved: Saved) -> Iterator[None]:
    """What a damaged file makes constructors and array look-ups raise, said as what it is."""
    try:
        yield
    except RarError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, MemoryError) as error:
        raise RouterFileError(saved.where, f"its parts do not fit together ({error!r}); {AGAIN}") from error


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
