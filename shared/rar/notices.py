"""Log lines that are worth one each: trouble, and advice, told once a router."""

from __future__ import annotations

import logging
import threading

logger = logging.getLogger("rar")


class Notices:
    """Logs each kind of notice once. Thread-safe."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, kind: str, message: str, *args: object, advice: bool = False) -> None:
        """Log a warning if none of `kind` was logged.

        Args:
            advice: Nothing is broken: the line says what could be set better. Handlers find it as `record.advice`.
        """
        with self._lock:
            if kind in self._told:
                return
            self._told.add(kind)
        logger.warning(message, *args, extra={"advice": advice})

    def after_fork(self) -> None:
        self._lock = threading.Lock()
