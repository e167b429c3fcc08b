"""Which model a tool loop began with: clients send its results back without what we said of it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, TypeAlias

from rar.values import Decision

_KEPT: Final = 20_000  # tool calls that are remembered
Begun: TypeAlias = tuple[str, str | None]  # the model and the id of its guide


class Turns:
    """Open turns, by namespace and tool call. Any thread may use it."""

    def __init__(self) -> None:
        self._begun: OrderedDict[tuple[str, str], Begun] = OrderedDict()
        self._lock = threading.Lock()

    def begun(self, decision: Decision, calls: Sequence[str]) -> None:
        """Remember who asked for these tool calls."""
        if not calls:
            return
        guide = decision.request.sticky_guide if decision.guide is None else decision.guide.id
        with self._lock:
            for id in calls:
                self._begun[decision.request.namespace, id] = (decision.model, guide)
            while len(self._begun) > _KEPT:
                self._begun.popitem(last=False)

    def of(self, namespace: str, calls: Sequence[str]) -> Begun | None:
        """Who asked for the tool calls whose results these are; None where that is not known."""
        with self._lock:
            return next((found for id in calls if (found := self._begun.get((namespace, id))) is not None), None)
