"""Arrays out of a file that may be anybody's: what it claims is checked before memory is taken for it."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

MOST_BYTES = 4 * 2**30  # of all arrays together
MOST_ARRAYS = 10_000

DAMAGES = (OSError, ValueError, EOFError, TypeError, AttributeError, KeyError, MemoryError, RecursionError,
           OverflowError, NotImplementedError, SyntaxError, zipfile.BadZipFile, zlib.error)  # fmt: skip
"""What reading a damaged or hostile archive raises."""


def load(file: Path) -> Mapping[str, np.ndarray[Any, Any]]:
    """The arrays of an `.npz` archive; no pickles.

    Raises:
        One of `DAMAGES`: It is damaged, claims more than it holds, or unpacks to more than `MOST_BYTES`.
    """
    with file.open("rb") as content:
        with zipfile.ZipFile(content) as archive:
            _check(archive)
        content.seek(0)
        with np.load(content, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}


def _check(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if len(members) > MOST_ARRAYS:
        raise ValueError(f"it has {len(members):,} arrays, the limit is {MOST_ARRAYS:,}")
    total = sum(member.file_size for member in members)
    if total > MOST_BYTES:
        raise ValueError(f"it unpacks to {total / 1e9:.0f} GB, the limit is {MOST_BYTES / 1e9:.0f} GB")
    for member in members:
        with archive.open(member) as stream:
            claimed = _claimed(stream)
        if claimed > member.file_size:
            raise ValueError(f"array {member.filename!r} claims {claimed:,} bytes and has {member.file_size:,}")


def _claimed(stream: IO[bytes]) -> int:
    """Bytes that the array needs by its header."""
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, kind = read(stream)
    if kind.hasobject:
        raise ValueError("it holds Python objects")
    return math.prod(shape) * kind.itemsize
