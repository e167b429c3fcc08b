"""Reading an export into a memory: in which order its records are stored, and under which ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rar.errors import EmbedderMismatchError, ImportFormatError
from rar.memory.base import DecisionRecord, JudgedAnswers, Label
from rar.memory.exchange import Header, Item, KeptGuide, to_header, to_item
from rar.memory.transitions import Naming, rekeyed, renamed
from rar.values import Experience


def items_of(
    records: Iterable[Mapping[str, Any]], where: str, secret: bytes | None, bind: Callable[[Header], None]
) -> Iterator[Item]:
    """What a memory has to put in, in this order. What names experiences comes last.

    Args:
        where, secret: The memory's own. None: the export is of a memory with the same key, and its ids stay.
        bind: Binds the memory to the export's embedder, or raises; called once.

    Raises:
        ImportFormatError: Names the record by its place (1 is the header) and what is wrong with it.
    """
    new_ids: dict[str, str] = {}
    waiting: list[Naming] = []
    header: Header | None = None
    for place, record in enumerate(records, 1):
        try:
            if header is None:
                header = to_header(record)
                if header.embedder_id:
                    bind(header)
                continue
            item = to_item(record, header.dim)
        except ValueError as error:
            raise ImportFormatError(where, f"record {place}: {error}") from None
        if isinstance(item, KeptGuide | DecisionRecord | Label | JudgedAnswers):
            waiting.append(item)
            continue
        if isinstance(item, Experience) and secret is not None:
            old_id, item = item.id, rekeyed(item, secret)
            new_ids[old_id] = item.id
        yield item
    if header is None:
        raise ImportFormatError(where, "record 1: the header is missing")
    yield from (renamed(late, new_ids) for late in waiting)


def check_embedder(where: str, bound: Header, given: Header) -> None:
    """Raise if a memory is bound to another embedder than the given one."""
    if bound.embedder_id and bound != given:
        found = f"{bound.embedder_id!r} of {bound.dim} dimensions, not {given.embedder_id!r} of {given.dim}"
        raise EmbedderMismatchError(where, found)
    if bound.dim not in (0, given.dim):
        found = f"one of {bound.dim} dimensions, not {given.embedder_id!r} of {given.dim}"
        raise EmbedderMismatchError(where, found)
