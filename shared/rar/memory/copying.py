"""Copying a memory into another one, of another kind perhaps: in parts, and checked record by record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any

from rar.errors import ConfigurationError, CopyError
from rar.memory.base import Memory

_AT_ONCE = 1_000  # records in one transaction


@dataclass(frozen=True)
class Copied:
    """What a copy holds.

    Args:
        counts: Records by kind.
        written: How many were written; the others were there.
    """

    counts: Mapping[str, int]
    written: int


def copy(source: Memory, target: Memory) -> Copied:
    """Make `target`, which is empty or a copy that was begun, hold what `source` holds, under the same key.

    Not copied are the answers of a cache, and when records were last used.

    Raises:
        CopyError: Afterwards the two are not the same.
        SecretError: The target is another memory.
    """
    restore = getattr(target, "restore", None)
    if restore is None:
        raise ConfigurationError(f"Memory {target.where!r} cannot take a copy. Export and import it.")
    there = _digests(target.export()) if source.secret == target.secret else Counter[bytes]()
    wanted, counts, written = Counter[bytes](), Counter[str](), 0
    records = iter(source.export())
    header = next(records)
    while some := list(islice(records, _AT_ONCE)):
        digests = [_digest(record) for record in some]
        wanted.update(digests)
        counts.update(record["kind"] for record in some)
        missing = [record for record, digest in zip(some, digests, strict=True) if digest not in there]
        if missing or not written:
            restore([header, *missing], source.secret)
        written += len(missing)
    held = _digests(target.export())
    if held != wanted:
        lacks, more = (wanted - held).total(), (held - wanted).total()
        raise CopyError(target.where, f"{lacks} records are not as in {source.where!r}, and {more} are not of it")
    return Copied(dict(counts), written)


def _digests(records: Iterable[Mapping[str, Any]]) -> Counter[bytes]:
    return Counter(_digest(record) for record in records if record["kind"] != "header")


def _digest(record: Mapping[str, Any]) -> bytes:
    return blake2b(json.dumps(record, sort_keys=True).encode("utf-8"), digest_size=16).digest()
