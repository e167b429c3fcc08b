"""Opening a memory: by a path or an address, from `memory=` of a router or from the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from rar.errors import ConfigurationError
from rar.memory.base import Memory
from rar.memory.paths import address_of
from rar.memory.postgres_address import SCHEMES, address_from
from rar.memory.sqlite_open import open_sqlite
from rar.naming import shown

_NEEDED = tuple(name for name in vars(Memory) if not name.startswith("_"))


def _open_postgres(address: str, **options: Any) -> Memory:
    address_from(address)  # says what is wrong with it, or that the extra is not installed
    from rar.memory.postgres import PostgresMemory  # noqa: PLC0415 - imports psycopg

    return PostgresMemory(address, **options)


BACKENDS: dict[str, Callable[..., Memory]] = {"sqlite": open_sqlite, **dict.fromkeys(SCHEMES, _open_postgres)}
"""What opens the addresses of a scheme, with the options of `open_memory`; `sqlite` opens what has none."""


def open_memory(
    where: str | os.PathLike[str], *, create: bool = True, read_only: bool = False, **options: Any
) -> Memory:
    """Open the memory at a path, such as `"rar.db"`, or at an address, such as `"postgresql://user@host/database"`.

    Args:
        where: `":memory:"` is a private one that ends with the process.
        create: Make it where there is none.
        read_only: Never write to it. A file of an older version is then read as an upgraded copy.
        options: The backend's own (`cap`, `secret` and `clock`; `PostgresMemory` has more).

    Raises:
        AddressError: No backend has that scheme.
        MissingMemoryError: There is none, and `create` is false.
        MemoryStoreError: It cannot be used.
    """
    scheme, rest = address_of(where, tuple(BACKENDS))
    return BACKENDS[scheme](rest, create=create, read_only=read_only, **options)


def as_memory(value: Any) -> Memory | None:
    """Open what `memory=` was given; an object is returned as it is.

    Raises:
        ConfigurationError: It is none of these.
        MemoryStoreError: It cannot be opened.
    """
    if value is None:
        return None
    if isinstance(value, str) or (isinstance(value, os.PathLike) and not isinstance(value, type)):
        return open_memory(value)
    if isinstance(value, type):
        raise ConfigurationError(f"memory={shown(value)} is a class. Pass an object of it, or a path.")
    missing = [name for name in _NEEDED if not hasattr(value, name)]
    if missing:
        lacks = "" if isinstance(value, (bool, int, float)) else f": it has no `{missing[0]}`"
        raise ConfigurationError(
            f"memory={shown(value)} is no memory{lacks}. Pass the path of a file, ':memory:', a `rar.Memory`, or None "
            "to route without one."
        )
    memory: Memory = value
    return memory
