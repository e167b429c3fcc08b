"""What a request, a conversation, a namespace or a day may use, as values. `rar.metering` holds calls to them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from rar.errors import ConfigurationError, UnknownNameError
from rar.naming import shown
from rar.options import COUNT, POSITIVE, Number

Per: TypeAlias = Literal["thread", "namespace", "day"]
OverLimit: TypeAlias = Literal["cheaper", "error", "strong"]

PERIODS: tuple[str, ...] = get_args(Per)
OVER_LIMIT: tuple[str, ...] = get_args(OverLimit)
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may use, its strategy's drafts included. None: no limit.

    One of the `calls`, and the USD of the cheapest model's, are kept for the answer itself.

    Args:
        calls: Model calls.
        usd: What they are expected to cost.
        seconds: Since the request came. Afterwards no call is begun; one that is under way goes on (see `timeout=`).
        parallel: Calls of a strategy at the same time.

    Raises:
        ConfigurationError: A value cannot work.
    """

    calls: int | None = None
    usd: float | None = None
    seconds: float | None = None
    parallel: int | None = None

    def __post_init__(self) -> None:
        for name, check in (("calls", COUNT), ("usd", Number()), ("seconds", POSITIVE), ("parallel", COUNT)):
            if (value := getattr(self, name)) is not None:
                check(name, value)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """USD that serving and learning together may cost.

    Args:
        usd: At most so much.
        per: `"day"` (UTC), `"namespace"` (for ever), `"thread"` (a conversation), or several: `("namespace", "day")` is
            each day of each namespace. A thread is one of its namespace, and requests without one have no such ceiling.

    Raises:
        ConfigurationError: A value cannot work.
    """

    usd: float
    per: Per | Sequence[Per] = "day"

    def __post_init__(self) -> None:
        Number()("usd", self.usd)
        for period in self.periods:
            if period not in PERIODS:
                raise UnknownNameError("per", period, PERIODS)
        if not self.periods:
            raise ConfigurationError(f"per={shown(self.per)} names nothing. Use one or several of {list(PERIODS)}.")

    def __str__(self) -> str:
        return f"{self.usd:g} USD per {' and '.join(self.periods)}"

    @property
    def periods(self) -> tuple[str, ...]:
        return (self.per,) if isinstance(self.per, str) else tuple(self.per)

    @property
    def adds_up(self) -> tuple[bool, bool, bool]:
        """What it tells apart: namespaces, conversations, days."""
        thread = "thread" in self.periods
        return thread or "namespace" in self.periods, thread, "day" in self.periods

    def account(self, namespace: str, thread: str, at: float) -> tuple[Any, ...] | None:
        """What is added up under it; None where it does not apply.

        Args:
            thread: A label of it; empty where there is none.
        """
        namespaces, threads, days = self.adds_up
        if threads and not thread:
            return None
        return namespace if namespaces else None, thread if threads else None, int(at // DAY) if days else None


def as_ceilings(value: Ceiling | Sequence[Ceiling] | None) -> tuple[Ceiling, ...]:
    """`spend=` as a tuple."""
    return () if value is None else (value,) if isinstance(value, Ceiling) else tuple(value)


def label_of(thread: str | None) -> str:
    """A label of a conversation, which tells nobody its id; empty where there is none."""
    return hashlib.blake2b(thread.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest() if thread else ""
