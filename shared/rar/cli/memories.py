"""The memories that commands work on, and what is looked up in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from rar.errors import (
    ConfigurationError,
    UnknownDecisionError,
    UnknownGuideError,
    UnknownNameError,
)
from rar.memory import Memory, open_memory
from rar.memory.base import DecisionRecord
from rar.values import Guide

USUAL = "rar.db"  # where a router keeps its memory if it is told nothing else
_ALL = 50_000  # decisions; a memory keeps no more


@contextmanager
def reading(memory: str) -> Iterator[Memory]:
    """A memory that nothing is written to."""
    with closing(open_memory(memory, create=False, read_only=True)) as opened:
        yield opened


@contextmanager
def writing(memory: str, *, create: bool = False) -> Iterator[Memory]:
    """A memory that is changed. There must be one, unless it may be made."""
    with closing(open_memory(memory, create=create)) as opened:
        yield opened


def memory_and_id(which: Sequence[str]) -> tuple[str, str]:
    """The memory, rar.db where only an id was given, and the id."""
    if len(which) > 2:
        raise ConfigurationError(f"Give a memory file and one id, or an id alone; {len(which)} words were given.")
    return (which[0] if len(which) == 2 else USUAL), which[-1]


def check_namespace(memory: Memory, namespace: str | None) -> None:
    if namespace is not None and namespace not in (known := memory.stats().namespaces):
        raise UnknownNameError("namespace", namespace, known)


def newest(memory: Memory, namespace: str | None, since: float, until: float | None) -> Iterator[DecisionRecord]:
    """Decisions, newest first, read in growing parts, so that a few of the latest come at once."""
    told: set[str] = set()
    limit = 100
    while True:
        records = memory.decisions(namespace=namespace, since=since, until=until, limit=limit)
        yield from (record for record in records if record.id not in told)
        told |= {record.id for record in records}
        if len(records) < limit:
            return
        until, limit = records[-1].at, 2 * limit


def find_guide(memory: Memory, id: str) -> Guide:
    found = memory.guide(id)
    if found is not None:
        return found
    named = [guide for guide in memory.guides() if guide.id.startswith(id)]
    if not named:
        raise UnknownGuideError(id)
    _check_one(id, [guide.id for guide in named])
    return named[0]


def find_decision(memory: Memory, id: str) -> DecisionRecord:
    found = memory.decision(id)
    if found is not None:
        return found
    named = [record for record in memory.decisions(limit=_ALL) if record.id.startswith(id)]
    if not named:
        raise UnknownDecisionError(id)
    _check_one(id, [record.id for record in named])
    return named[0]


def _check_one(given: str, ids: list[str]) -> None:
    if len(ids) > 1:
        shown = ", ".join(ids[:3])
        raise ConfigurationError(f"Id {given!r} is ambiguous, {len(ids)} begin so: {shown}. Give more of it.")
