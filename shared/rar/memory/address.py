"""What may be given as a memory: a path, `":memory:"`, a `Memory`, or None; addresses of servers are no paths."""

from __future__ import annotations

import os
from typing import Any

from rar.errors import ConfigurationError
from rar.memory.base import Memory
from rar.memory.sqlite import SQLiteMemory
from rar.naming import shown

_NEEDED = tuple(name for name in vars(Memory) if not name.startswith("_"))


def as_memory(value: Any) -> Memory | None:
    """Open what `memory=` was given; an object is returned as it is.

    Raises:
        ConfigurationError: It is none of these.
        MemoryStoreError: The file cannot be used, or `value` is the address of a server.
    """
    if value is None:
        return None
    if isinstance(value, str) or (isinstance(value, os.PathLike) and not isinstance(value, type)):
        return SQLiteMemory(value)
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
