"""What the pages of a dashboard share: one memory, read, and changed only where that was allowed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

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
_FRESH: Final = 2.0  # seconds for which what was read is shown to all who look


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
    _kept: dict[object, tuple[float, object]] = field(default_factory=dict, repr=False)

    def pulse(self) -> tuple[object, ...]:
        """Something that is another one as soon as there is something new to show."""
        latest = self.memory.decisions(limit=1)
        guides = sorted((guide.id, guide.state, guide.helpful, guide.harmful) for guide in self.memory.guides())
        return (latest[0].id if latest else "", self.memory.stats().trials, tuple(guides))

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

    # ── changes ──

    def decide(self, id: str, state: GuideState) -> None:
        """Put a guide into a state that stands until a person decides again.

        Raises:
            ConfigurationError: This dashboard only looks.
            LookupError: There is no such guide.
        """
        self._check()
        self.memory.set_guide_state(id, state)

    def add(self, given: OwnGuide) -> Guide:
        """Add a guide.

        Raises:
            ConfigurationError: This dashboard only looks, or the guide cannot be added as it is.
            GuideRefusedError: The checks refuse it.
        """
        self._check()
        shelf = GuideShelf(self.memory, embedder_of(self.memory))
        return shelf.put([shelf.made(given, time.time())])[0]

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

    def _check(self) -> None:
        if not self.manage:
            raise ConfigurationError("This dashboard only looks. Start it with --manage to change guides.")

    def _recently(self, name: object, make: Callable[[], T]) -> T:
        at, found = self._kept.get(name, (0.0, None))
        now = time.monotonic()
        if found is None or now - at > _FRESH:
            if len(self._kept) > 50:
                self._kept.clear()
            found = make()
            self._kept[name] = (now, found)
        return found  # type: ignore[return-value]
