"""How the memory's values are kept as rows: what the backends that speak SQL have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, fields
from operator import attrgetter, itemgetter
from typing import Any, Generic, TypeVar

import numpy as np

from rar.memory.base import CachedAnswer, DecisionRecord, JudgedAnswers, Label, PolicyState, Spend
from rar.values import Experience, Guide, Origin, Tally, Vector

ANYWAY = 2  # in `pinned`, which is 1 where a person set a guide's state: they did so against the checks

_NO_VECTOR: Vector = np.empty(0, np.float32)
_NO_VECTOR.flags.writeable = False

_Value = TypeVar("_Value")


class Rows(Generic[_Value]):
    """How the values of a dataclass are kept: a column for each field, of the same name and in the same order.

    Args:
        kept: The dataclass.
        without: Fields that are kept elsewhere, or that only readers fill in.
        read, write: Maps from and to a column's value, for fields whose values SQLite does not hold as they are.
    """

    def __init__(
        self,
        kept: type[_Value],
        *,
        without: Sequence[str] = (),
        read: Mapping[str, Callable[[Any], Any]] | None = None,
        write: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> None:
        self._kept = kept
        self.names = tuple(field.name for field in fields(kept) if field.name not in without)  # type: ignore[arg-type]
        self._read = [(self.names.index(name), convert) for name, convert in (read or {}).items()]
        self._write = [(self.names.index(name), convert) for name, convert in (write or {}).items()]
        self.columns = ", ".join(self.names)
        self.marks = ", ".join("?" * len(self.names))
        self._get = attrgetter(*self.names)
        given = (*self.names, *without)
        self._in_order = itemgetter(*(given.index(field.name) for field in fields(kept)))  # type: ignore[arg-type]

    def value(self, row: Sequence[Any], *more: Any) -> _Value:
        """The value whose columns are `row`.

        Args:
            more: The fields that are kept elsewhere, in the order in which they were named.
        """
        columns = [*row, *more]
        for place, convert in self._read:
            columns[place] = convert(columns[place])
        return self._kept(*self._in_order(columns))

    def row(self, value: _Value) -> list[Any]:
        columns = list(self._get(value))
        for place, convert in self._write:
            columns[place] = convert(columns[place])
        return columns

    def assigned(self, *but: str) -> str:
        """`column = excluded.column` for all columns but these, for an upsert."""
        return ", ".join(f"{name} = excluded.{name}" for name in self.names if name not in but)


def _vector(blob: bytes) -> Vector:
    return np.frombuffer(blob, "<f4")


def _origins(text: str) -> tuple[Origin, ...]:
    return tuple(Origin(*one) for one in json.loads(text)) if text else ()


def _of_origins(origins: Sequence[Origin]) -> str:
    return json.dumps([astuple(origin) for origin in origins], separators=(",", ":")) if origins else ""


def _facts(facts: Mapping[str, Any]) -> str:
    return json.dumps(dict(facts), default=str)


# Embeddings are the last column, so that the rest of a row is read without them.
EXPERIENCE = Rows(Experience, without=("embedding", "tallies"))
GUIDE = Rows(Guide, without=("embedding", "pinned", "anyway"))
TALLY = Rows(
    Tally,
    read={"guide_id": lambda id: id or None, "last_ok": bool, "origins": _origins},
    write={"guide_id": lambda id: id or "", "origins": _of_origins},
)
POLICY = Rows(PolicyState)
SPEND = Rows(Spend)
JUDGED = Rows(JudgedAnswers, read={"agrees": bool}, write={"agrees": int})
CACHED = Rows(CachedAnswer)
LABEL = Rows(Label, read={"drawn": bool}, write={"drawn": int})
DECISION = Rows(DecisionRecord, read={"facts": json.loads}, write={"facts": _facts})
A_GUIDE = f"{GUIDE.columns}, pinned, embedding"
WHOLE = f"{EXPERIENCE.columns}, embedding"  # experience


def to_experience(row: Sequence[Any], tallies: tuple[Tally, ...] = ()) -> Experience:
    """The experience of a row of `WHOLE`; None in the place of its embedding leaves that out."""
    embedding = _NO_VECTOR if row[-1] is None else _vector(row[-1])
    return EXPERIENCE.value(row[:-1], embedding, tallies)


def to_guide(row: Sequence[Any]) -> Guide:
    """The guide of a row of `A_GUIDE`."""
    *columns, pinned, blob = row
    return GUIDE.value(columns, _vector(blob), pinned != 0, pinned == ANYWAY)


def pinned_as(guide: Guide) -> int:
    return ANYWAY if guide.anyway else int(guide.pinned)


def sane(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates replaced by U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
