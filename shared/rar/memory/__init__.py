"""The memory: what was learned, found again by similarity, shared by both frameworks."""

from rar.memory.base import Batch, Memory, MemoryStats
from rar.memory.identity import experience_id, keyed_digest
from rar.memory.opening import open_memory
from rar.memory.recalling import Query, Recalled
from rar.memory.sqlite import SQLiteMemory

__all__ = [
    "Batch",
    "Memory",
    "MemoryStats",
    "Query",
    "Recalled",
    "SQLiteMemory",
    "experience_id",
    "keyed_digest",
    "open_memory",
]
