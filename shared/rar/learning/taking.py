"""What a worker does with lessons: whose models it has, and when one that failed is tried again."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rar.drive import Models
from rar.errors import (
    ConfigurationError,
    LessonFailedError,
    LessonFormatError,
    MemoryStoreError,
    OtherModelsError,
    RecordError,
)
from rar.memory.queueing import queue_of
from rar.naming import shown
from rar.router import Router
from rar.values import STRONG, WEAK

FIRST, MOST = 2.0, 600.0  # seconds: the first wait after a failure that passes, and the longest
PATIENCE = 10  # tries of what may pass
TRIES = 3  # of what probably will not
_PASSING = frozenset({408, 409, 425, 429})  # statuses, beside those of servers in trouble
_NAMED = ("ratelimit", "timeout", "connection", "overloaded", "unavailable")


@dataclass(frozen=True)
class Taker:
    """A router with its models, as a worker uses them."""

    router: Router
    models: Models

    @property
    def sources(self) -> tuple[str, ...]:
        """The frameworks whose own messages and settings these models understand."""
        return tuple(sorted({source for model in self.models.values() if (source := getattr(model, "source", ""))}))

    def work(self, *, lanes: int = 4, wait: bool = True, grace: float = 60.0, stalled: float = 30.0) -> None:
        """Take lessons and learn from them, till SIGTERM, SIGINT or, without `wait`, till there are none."""
        assert self.router.memory is not None
        queue = queue_of(self.router.memory)
        queue.prepare()
        queue.work(
            lambda lesson: self.router.study(lesson, self.models), retry_after, sources=self.sources, lanes=lanes,
            wait=wait, grace=grace, stalled=stalled,
        )  # fmt: skip


def taker_of(made: Any, address: str) -> Taker:
    """What a worker is given: a `RouterChatModel`, a `RouterLLM`, a `Router` with models, or models by role.

    Raises:
        ConfigurationError: It is none of these, or its memory is another one.
    """
    if isinstance(made, Mapping) and {WEAK, STRONG} <= made.keys():
        others = {name: model for name, model in made.items() if name not in (WEAK, STRONG)}
        made = Router(made[WEAK], made[STRONG], models=others or None, memory=address, learning="queue")
    router: Any = made if isinstance(made, Router) else getattr(made, "router", None)
    models = getattr(made, "models", None)
    if not isinstance(router, Router) or models is None:
        raise ConfigurationError(
            f"A worker cannot use {shown(made)}. Have the factory return a RouterChatModel, a RouterLLM, a Router with "
            "weak= and strong=, or a mapping of roles to models."
        )
    if router.memory is None:
        raise ConfigurationError(f"The router that the factory made has no memory. Pass memory={shown(address)}.")
    return Taker(router, models() if callable(models) else models)


def retry_after(error: BaseException, attempts: int) -> float | None:
    """Seconds after which a lesson that failed is tried again; None: it is given up.

    Rate limits and outages pass: the wait doubles each time, by chance a little more or less, so that workers do not
    come back together. What else goes wrong is tried a few times.
    """
    passing = _passes(error)
    if attempts + 1 >= (PATIENCE if passing else TRIES):
        return None
    wait = min(FIRST * 2.0**attempts, MOST) * random.uniform(0.75, 1.25)  # noqa: S311 - guards nothing
    return max(wait, _asked_for(error.__cause__ or error))


def _passes(error: BaseException) -> bool:
    if isinstance(error, (LessonFormatError, OtherModelsError)):
        return True  # another worker may be able to
    if isinstance(error, MemoryStoreError):
        return not isinstance(error, RecordError)
    if isinstance(error, LessonFailedError):
        if error.__cause__ is None:
            return True  # another process has the request
        error = error.__cause__
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status in _PASSING or status >= 500
    name = type(error).__name__.lower()
    return isinstance(error, (TimeoutError, ConnectionError)) or any(part in name for part in _NAMED)


def _asked_for(error: BaseException) -> float:
    """The wait that a provider asks for."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    try:
        return min(max(float(headers["retry-after"]), 0.0), MOST) if headers is not None else 0.0
    except (KeyError, TypeError, ValueError):
        return 0.0
