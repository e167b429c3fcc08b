"""Small jobs on a thread of their own, so that no call waits for them."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from rar.exits import at_end
from rar.forking import Lock, in_forked_child
from rar.naming import cause

logger = logging.getLogger("rar")

_PAUSE = 0.1  # seconds in which jobs gather: waking a thread for each would cost more than most of them
_MOST = 10_000  # that wait; one more drops the oldest, where that is no harm


class Aside:
    """Runs jobs in the order in which they came. What one raises is logged once. Any thread may call it.

    Args:
        all: Whoever finds too many waiting runs them, so that none is dropped.
    """

    def __init__(self, *, all: bool = False) -> None:
        self._running, self._all = Lock(), all
        self._reset()
        in_forked_child(self._reset)
        at_end(_End(self))

    def _reset(self) -> None:
        # What waits in a parent is the parent's to do.
        self._jobs: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque(maxlen=_MOST)
        self._some = threading.Event()
        self._started = self._failed = False

    def put(self, function: Callable[..., object], *args: Any) -> None:
        """Have `function` called before long."""
        if self._all and len(self._jobs) >= _MOST:
            self.flush()
        self._jobs.append((function, args))
        if not self._some.is_set():
            self._some.set()
            if not self._started:
                self._start()

    def flush(self) -> None:
        """Run all that waits now."""
        with self._running:
            while self._jobs:
                try:
                    function, args = self._jobs.popleft()
                except IndexError:
                    return
                try:
                    function(*args)
                except Exception as error:
                    if not self._failed:
                        self._failed = True
                        logger.warning("Telemetry could not be written; this is said once. %s", cause(error))

    def _start(self) -> None:
        self._started = True
        own = weakref.ref(self)
        try:
            threading.Thread(target=_run, args=(own, self._some), name="rar-telemetry", daemon=True).start()
        except RuntimeError:  # too many threads, or the interpreter is ending
            self._started = False
            self._some.clear()
            self.flush()


def _run(own: weakref.ref[Aside], some: threading.Event) -> None:
    while True:
        some.wait(60.0)
        time.sleep(_PAUSE)
        some.clear()
        aside = own()
        if aside is None:
            return
        aside.flush()
        del aside


class _End:
    """What the end of the process does, without keeping the jobs' owner alive."""

    def __init__(self, aside: Aside) -> None:
        self._aside = weakref.ref(aside)

    def __call__(self, seconds: float) -> None:
        if (aside := self._aside()) is not None:
            aside.flush()
