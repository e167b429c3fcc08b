"""What the pages of a dashboard share: one memory, read, and changed only where that was allowed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from rar.dashboard.views import LOOKED_AT, AtFloor, ByModel, Filter, Row, at_floors, by_models, rows
from rar.errors import ConfigurationError, UnknownDecisionError
from rar.memory.base import DecisionRecord, Memory
from rar.own_guides import GuideShelf, OwnGuide, embedder_of
from rar.prices import Prices
from rar.report import report
from rar.report.facts import ReportFacts
from rar.values import Guide, GuideState
from rar.views import Explained, explained

T = TypeVar("T")
_REPORT: Final = "report.md"  # as `rar eval` names it
_HEADING: Final = re.compile(r"^(?=#{1,2} )", re.MULTILINE)
_PICTURE: Final = re.compile(r"\]\(([\w.-]+\.png)\)")
_PULSE: Final = 1.0  # seconds for which all who look share one look at whether there is something new
_FRESH: Final = 60.0  # seconds for which what was read is shown as long as there is not


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A report of `rar eval`, by its folder's name."""

    name: str
    at: float


@dataclass
class Desk:
    """Any thread may use it.

    Args:
        manage: Whether guides may be changed.
        reports: A folder with reports of `rar eval`.
    """

    memory: Memory
    prices: Prices = field(default_factory=Prices)
    manage: bool = False
    reports: Path | None = None
    _kept: dict[object, tuple[float, object, object]] = field(default_factory=dict, repr=False)
    _pulse: tuple[float, object] = field(default=(0.0, None), repr=False)

    def pulse(self) -> object:
        """Something that is another one about a second after there is something new to show."""
        at, found = self._pulse
        now = time.monotonic()
        if found is None or now - at > _PULSE:
            found = _pulse_of(self.memory)
            self._pulse = now, found
        return found

    def facts(self, namespace: str | None = None, days: float | None = None) -> ReportFacts:
        """The report's facts."""
        return self._recently(
            ("facts", namespace, days),
            lambda: report(self.memory, namespace=namespace, days=days, prices=self.prices).facts,
        )

    def rows(self, which: Filter) -> list[Row]:
        return rows(self.memory, which)

    def record(self, id: str) -> DecisionRecord:
        """A decision.

        Raises:
            UnknownDecisionError: It is not kept.
        """
        found = self.memory.decision(id)
        if found is None:
            raise UnknownDecisionError(id)
        return found

    def explained(self, record: DecisionRecord) -> Explained:
        return explained(record, self.memory)

    def at_floors(self, record: DecisionRecord) -> list[AtFloor]:
        """What other floors would have made of a decision, by the decisions up to it and after."""
        latest = self._recently(
            ("latest", record.namespace), lambda: self.memory.decisions(namespace=record.namespace, limit=LOOKED_AT)
        )
        return at_floors(latest, self.explained(record).facts)

    def by_models(self, record: DecisionRecord) -> list[ByModel]:
        return by_models(self.explained(record).facts, self.prices)

    def guides(self) -> list[Guide]:
        """Guides, those that wait for a person first, then the newest."""
        order = {"candidate": 0, "active": 1, "retired": 2, "quarantined": 3}
        return sorted(self.memory.guides(), key=lambda guide: (order[guide.state], -guide.created_at))

    # ── evaluations ──

    def evaluations(self) -> list[Evaluation]:
        """The reports of `rar eval --out` in the folder of reports, the newest first."""
        files = [] if self.reports is None else self.reports.rglob(_REPORT)
        found = [Evaluation(self._named(file), file.stat().st_mtime) for file in files]
        return sorted(found, key=lambda one: (-one.at, one.name))

    def evaluation(self, name: str) -> str | None:
        """A report's text, whose pictures are found under `/reports`; None where there is none of that name."""
        files = [] if self.reports is None else self.reports.rglob(_REPORT)
        file = next((one for one in files if self._named(one) == name), None)
        if file is None or self.reports is None:
            return None
        folder = file.parent.relative_to(self.reports).as_posix()
        text = _HEADING.sub("####", file.read_text("utf-8"))  # below the page's own
        return _PICTURE.sub(rf"](/reports/{quote(folder)}/\1)", text)

    def _named(self, file: Path) -> str:
        assert self.reports is not None
        return file.parent.relative_to(self.reports).as_posix()

    # ── changes ──

    def decide(self, id: str, state: GuideState) -> None:
        """Put a guide into a state that stands until a person decides again.

        Raises:
            ConfigurationError: This dashboard only looks.
            LookupError: There is no such guide.
        """
        self._check()
        self.memory.set_guide_state(id, state)
        self._changed()

    def add(self, given: OwnGuide) -> Guide:
        """Add a guide.

        Raises:
            ConfigurationError: This dashboard only looks, or the guide cannot be added as it is.
            GuideRefusedError: The checks refuse it.
        """
        self._check()
        shelf = GuideShelf(self.memory, embedder_of(self.memory))
        made = shelf.put([shelf.made(given, time.time())])[0]
        self._changed()
        return made

    def edit(self, guide: Guide, text: str) -> Guide:
        """Put a guide with another text in the place of one, which is retired. It has to prove itself anew.

        Raises:
            ConfigurationError, GuideRefusedError: As `add`; the old one stays as it is.
        """
        origin = self.memory.experience(guide.origin) if guide.origin else None
        used_for = (origin.text,) if origin is not None and origin.text else ()
        made = self.add(OwnGuide(text, used_for, guide.namespace, guide.task))
        if made.id != guide.id:
            self.decide(guide.id, "retired")
        return made

    def _changed(self) -> None:
        self._pulse = (0.0, None)

    def _check(self) -> None:
        if not self.manage:
            raise ConfigurationError("This dashboard only looks. Start it with --manage to change guides.")

    def _recently(self, name: object, make: Callable[[], T]) -> T:
        now, pulse = time.monotonic(), self.pulse()
        at, seen, found = self._kept.get(name, (0.0, None, None))
        if found is None or seen != pulse or now - at > _FRESH:
            if len(self._kept) > 50:
                self._kept.clear()
            found = make()
            self._kept[name] = (now, pulse, found)
        return found  # type: ignore[return-value]


def _pulse_of(memory: Memory) -> object:
    if callable(pulse := getattr(memory, "pulse", None)):  # of our own memories, whatever they hold
        return pulse()
    latest = memory.decisions(limit=1)
    guides = sorted((guide.id, guide.state, guide.helpful, guide.harmful) for guide in memory.guides())
    return (latest[0].id if latest else "", memory.stats().trials, tuple(guides))
