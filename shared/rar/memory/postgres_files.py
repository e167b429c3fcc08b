"""Where a machine keeps its index of a memory in PostgreSQL."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from rar.caching import cache_folder
from rar.memory.index_files import Anchor, IndexFiles


def place_of(identity: str, user: object, folder: str | os.PathLike[str] | None) -> tuple[Path, str]:
    """The path of its files, and by which name the memory knows them.

    Args:
        folder: None for the user's cache folder.
    """
    place = Path(folder) if folder else cache_folder() / "memories"
    name = blake2b(f"{identity} {user or ''}".encode("utf-8", "replace"), digest_size=12).hexdigest()
    known = f"{name} {socket.gethostname()} {place.absolute()}".encode("utf-8", "replace")
    return place / name, blake2b(known, digest_size=16).hexdigest()


def files_at(path: Path, anchor: Anchor) -> IndexFiles | None:
    """The files at a path; None where there can be none, which costs a start that takes longer."""
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return IndexFiles(path, anchor)
    return None
