"""Having people grade what a judge compared: which pairs, in which file, and what becomes of their grades."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rar.errors import ConfigurationError
from rar.learning.labels import Corrections
from rar.learning.loop import LearningLoop
from rar.learning.pairs import Pair, Pairs, pair_of
from rar.memory.base import Batch, DecisionRecord, Label
from rar.naming import shown
from rar.options import SHARE

_FIRST, _SECOND = "first answer", "second answer"
COLUMNS = ("decision_id", "weight", "question", _FIRST, _SECOND, "first grade", "second grade")


@dataclass(frozen=True)
class Labelling:
    """What a router does with labels.

    Args:
        learning: None where there is no memory.
        record: A decision as the memory keeps it; it raises where there is none.
    """

    pairs: Pairs
    corrections: Corrections | None
    learning: LearningLoop | None
    record: Callable[[str], DecisionRecord]
    clock: Callable[[], float]

    def to_label(self, namespace: str, count: int) -> list[Pair]:
        return self.pairs.sample(namespace, count)

    def label(self, decision_id: str, weak: float, strong: float, weight: float, epoch: int | None) -> None:
        """Store what a person said.

        Raises:
            ConfigurationError: A grade is no share, nothing was judged there, or nothing can be stored.
            UnknownDecisionError: No such decision is known.
        """
        if self.learning is None or not self.learning.stores or self.corrections is None:
            raise ConfigurationError("Labels are kept in the memory. Pass `memory=`, and not `read_only=True`.")
        pair = self.pairs.get(decision_id) or pair_of(self.record(decision_id))
        label = labelled(pair, decision_id, weak, strong, weight, self.clock())
        self.learning.write(Batch(labels=(label,), epoch=epoch))
        self.pairs.drop(decision_id)
        self.corrections.forget()


def labelled(pair: Pair | None, decision_id: str, weak: float, strong: float, weight: float, at: float) -> Label:
    """What a person said of a pair.

    Raises:
        ConfigurationError: A grade is no share, or nothing was judged there.
    """
    SHARE("weak", weak)
    SHARE("strong", strong)
    if pair is None:
        raise ConfigurationError(f"Decision {shown(decision_id)} was not judged, so there is nothing to label.")
    return replace(pair, weight=weight).graded(float(weak), float(strong), at)


# --- sheets: a file that a person fills in ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """A pair in a sheet. Which answer comes first does not show whose it is: a person is to be blind to that.

    Args:
        grades: Of the first and the second answer, from 0 to 1; None while it is not graded.
    """

    decision_id: str
    weight: float
    question: str
    answers: tuple[str, str]
    grades: tuple[float, float] | None = None

    @property
    def weak_first(self) -> bool:
        return weak_first(self.decision_id)

    @property
    def weak_and_strong(self) -> tuple[float, float] | None:
        """The grades of the weak and the strong answer."""
        if self.grades is None:
            return None
        first, second = self.grades
        return (first, second) if self.weak_first else (second, first)


def weak_first(decision_id: str) -> bool:
    """Whether the weak answer of a decision's pair is shown first: by chance, and the same each time."""
    return random.Random(decision_id).random() < 0.5  # noqa: S311 - guards nothing


def lines_of(pairs: Sequence[Pair]) -> list[Line]:
    """Pairs as they are shown."""
    return [
        Line(
            pair.decision_id,
            pair.weight,
            pair.question,
            (pair.weak, pair.strong) if weak_first(pair.decision_id) else (pair.strong, pair.weak),
        )
        for pair in pairs
    ]


def write_sheet(path: str | Path, lines: Sequence[Line]) -> None:
    """Write lines as CSV, whose last two columns a person fills in with grades from 0 (useless) to 1 (right)."""
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for line in lines:
            grades = ("", "") if line.grades is None else line.grades
            texts = map(_inert, (line.question, *line.answers))
            writer.writerow([line.decision_id, f"{line.weight:.6g}", *texts, *grades])


_RISKY = ("=", "+", "-", "@", "\t", "\r", "'")  # what makes a spreadsheet run a cell, and what keeps it from that


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(_RISKY) else text


def _as_it_was(text: str | None) -> str:
    return (text or "").removeprefix("'") if (text or "")[1:2] in _RISKY else text or ""


def read_sheet(path: str | Path) -> list[Line]:
    """The lines of a sheet, graded or not.

    Raises:
        ConfigurationError: Names the line that cannot be read.
    """
    csv.field_size_limit(10_000_000)
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = set(COLUMNS) - set(reader.fieldnames or ())
        if missing:
            raise ConfigurationError(f"{path} is no sheet of pairs: it has no column {min(missing)!r}.")
        return [_line(path, place, row) for place, row in enumerate(reader, 2)]


def _line(path: str | Path, place: int, row: Mapping[str, str | None]) -> Line:
    given = [(row["first grade"] or "").strip(), (row["second grade"] or "").strip()]
    try:
        grades = None if not any(given) else (float(given[0]), float(given[1]))
        weight = float(row["weight"] or "")
        if not 0.0 < weight < 1e6 or (grades is not None and not all(0.0 <= grade <= 1.0 for grade in grades)):
            raise ValueError
    except ValueError:
        what = "a grade is a number from 0 to 1, and both answers have one or neither has"
        raise ConfigurationError(f"{path}, line {place}: {what}.") from None
    answers = (_as_it_was(row[_FIRST]), _as_it_was(row[_SECOND]))
    return Line(row["decision_id"] or "", weight, _as_it_was(row["question"]), answers, grades)
