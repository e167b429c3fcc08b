"""Money that the processes of one memory spend together: each reserves what a call may cost before it is made.

An account is a ceiling's: of a day, a namespace, a conversation, or of what learning may cost. What was spent under it
is what the memory has stored. Before that, it is reserved by the process that spends it. So all that is known to be
spent, and all that may yet be, is never more than the ceiling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from rar.memory.base import Spend

LEASE = 10.0  # seconds for which a process may spend what it reserved and does not need yet
GRACE = 20.0  # seconds more until others may: a process gives back what it did not need by itself, if it lives
HELD = 900.0  # seconds for which what a process is spending is reserved, if nothing is heard of it
KEPT = 90 * 86_400.0  # seconds for which the sum of a conversation is kept that goes on no more
CLOSE = 1e-9  # of a cost: what rounding may make of it
_SHARES = 32.0  # of what is left, a process reserves one beforehand: few round trips, and little that lies idle

Weigh: TypeAlias = "Callable[[Sequence[Spend]], tuple[float, float]]"


@dataclass(frozen=True, slots=True)
class Account:
    """What is added up under one ceiling.

    Args:
        name: Unique in the memory; tells nobody a conversation's id.
        namespace: Whose spending it is; None: that of all.
        since: From this day on, seconds since the epoch; 0: for ever.
        weigh: The ceiling, and what was spent under it, by the spending that is stored, with what this process has not
            stored yet.
        kept: Added up under its own name, since the spending does not tell it apart.
    """

    name: str
    namespace: str | None
    since: float
    weigh: Weigh = field(compare=False, repr=False)
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """What a process wants of an account.

    Args:
        held: What it is spending: of calls under way, or not stored yet.
        under_way: The part of it that is of calls under way.
        more: By how much `held` has grown since it was last told.
        needs: What a call may cost, or other calls in its place; the dearest that fits counts. None: what was reserved
            and not needed is given back.
    """

    account: Account
    held: float
    under_way: float
    more: float
    needs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Granted:
    """The answer.

    Args:
        free: USD that the process may spend for `LEASE` seconds, beside what it holds.
        left: What was left before.
        spent: What was spent, with what is not stored yet.
    """

    free: float
    left: float
    spent: float


@dataclass(frozen=True, slots=True)
class Settled:
    """What was reserved and is spent now: it is in the spending of the same transaction."""

    account: str
    namespace: str | None
    owner: str
    usd: float
    kept: bool = False


class Till(Protocol):
    """The part of a memory by which its processes spend together. A memory need not have it."""

    def reserve(self, owner: str, asks: Sequence[Ask]) -> list[Granted]:
        """Reserve, in one transaction, what fits. Nobody else's call fits into the same room."""
        ...


def granted(ask: Ask, stored: Sequence[Spend], others: float) -> Granted:
    """What an account has for a process.

    Args:
        stored: The spending that is stored, by purpose and model.
        others: What other processes reserved.
    """
    ceiling, spent = ask.account.weigh(stored)
    left = ceiling - spent - ask.under_way - others
    need = max((one for one in ask.needs if one <= left + CLOSE * one), default=None)
    return Granted(0.0 if need is None else max(need, share_of(left)), left, spent)


def share_of(left: float) -> float:
    return left / _SHARES
