"""The routers that an observer was given, held weakly: it must not keep alive what it watches."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from rar.forking import Lock

if TYPE_CHECKING:
    from rar.router import Router


class Watched:
    """Routers in the order in which they came. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._routers: tuple[weakref.ref[Router], ...] = ()

    def add(self, router: Router) -> None:
        with self._lock:
            self._routers = (*(ref for ref in self._routers if ref() is not None), weakref.ref(router))

    def alive(self) -> list[Router]:
        return [router for ref in self._routers if (router := ref()) is not None]

    def of(self, decision_id: str) -> Router | None:
        """Whose recent decision that is."""
        if len(self._routers) == 1:
            return self._routers[0]()
        return next((one for one in self.alive() if one.recent(decision_id) is not None), None)
