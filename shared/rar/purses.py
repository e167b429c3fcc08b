"""What this process has reserved of the accounts that the processes of a memory share."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, cast

from rar.forking import Lock, in_forked_child
from rar.identifiers import new_id
from rar.memory.base import Memory
from rar.memory.tills import CLOSE, GRACE, HELD, LEASE, Account, Ask, Granted, Settled, Till, share_of
from rar.naming import cause
from rar.notices import Notices

_AGAIN = 0.2  # seconds after which it is asked again for what was not there
_AWAY = 5.0  # seconds for which a memory is not asked that could not be
_NOTHING = 1e-12  # USD

Needs: TypeAlias = Mapping[Account, Sequence[float]]  # what a call may cost, or others in its place


@dataclass(slots=True)
class _Pocket:
    """What is known of an account. `room` is what may be spent yet, until another process may."""

    account: Account
    under_way: float = 0.0
    unstored: float = 0.0
    draining: float = 0.0  # the part of `unstored` that is being stored
    told: float = 0.0  # what the memory holds for us, but for the lease
    room: float = 0.0
    left: float = 0.0
    since: float = -math.inf
    refused: tuple[float, float] = (math.inf, -math.inf)  # from which cost on, until when

    @property
    def held(self) -> float:
        return self.under_way + self.unstored

    def short(self, needs: Sequence[float], now: float, anew: bool = False) -> bool:
        """Whether to ask for more."""
        need, (least, until) = max(needs, default=0.0), self.refused
        if now - self.since < LEASE and need <= self.room:
            return False
        return anew or not (need >= least and now < until)

    def take(self, grant: Granted, ask: Ask, began: float, now: float) -> None:
        self.told += ask.more
        self.since, self.left = began, grant.left
        self.room = grant.free - (self.held - ask.held)  # what was spent while it was asked
        missed = [need for need in ask.needs if need > grant.free]
        self.refused = (min(missed), now + _AGAIN) if missed else (math.inf, -math.inf)

    def owes(self, now: float) -> bool:
        """Whether the memory holds more or less for us than we need, or will forget what we do need."""
        return self.room > 0.0 or abs(self.told - self.held) > _NOTHING or now - self.since > HELD / 2.0

    @property
    def idle(self) -> bool:
        """Whether nothing is lost with what is known here."""
        return not (self.under_way or self.unstored or self.draining) and abs(self.told) <= _NOTHING


class Purse:
    """Reserves what calls may cost, and settles what they did. Thread-safe.

    While the memory cannot be asked, everything fits: whoever asks goes by what it knows itself.
    """

    def __init__(self, till: Till, notices: Notices) -> None:
        self._till, self._notices = till, notices
        self._begin()
        in_forked_child(self._begin)

    def _begin(self) -> None:
        # What the parent reserved is the parent's.
        self._owner = new_id()
        self._lock, self._asking = Lock(), Lock()
        self._pockets: dict[str, _Pocket] = {}
        self._calls: dict[str, tuple[tuple[str, ...], float]] = {}  # under way
        self._away = -math.inf
        self._timer: threading.Timer | None = None
        self._closed = False

    # --- asking -----------------------------------------------------------------------------------------------------

    def ahead(self, needs: Needs) -> Callable[[], None] | None:
        """What is to be called, where one may wait, before `fits` is asked of such calls; None: nothing is."""
        now = time.monotonic()
        with self._lock:
            if now < self._away or not any(self._pocket(one).short(costs, now) for one, costs in needs.items()):
                return None
        return partial(self.fill, needs)

    def fill(self, needs: Needs, *, anew: bool = False) -> None:
        """Reserve what such calls may cost, as far as it is there.

        Args:
            anew: Also where it was not there a moment ago.
        """
        with self._asking:
            now = time.monotonic()
            with self._lock:
                short = {one: costs for one, costs in needs.items() if self._pocket(one).short(costs, now, anew)}
            if short and now >= self._away:
                self._ask(short)

    def _ask(self, needs: Needs) -> None:
        began = time.monotonic()
        with self._lock:
            pockets = [self._pocket(account) for account in needs]
            asks = [
                Ask(one.account, one.held, one.under_way, one.held - one.told, tuple(needs[one.account]))
                for one in pockets
            ]
        try:
            grants = self._till.reserve(self._owner, asks)
        except Exception as error:
            self._away = time.monotonic() + _AWAY
            self._notices("ceilings", "What others spent could not be looked up. %s", cause(error))
            return
        with self._lock:
            for pocket, ask, grant in zip(pockets, asks, grants, strict=True):
                pocket.take(grant, ask, began, time.monotonic())
            self._give_back_later()

    def fits(self, account: Account, usd: float) -> tuple[bool, float] | None:
        """Whether a call of that cost fits into what is reserved, and how much was left when it was asked last.

        None where nobody knows: it was not asked yet, or could not be.
        """
        now = time.monotonic()
        with self._lock:
            pocket = self._pockets.get(account.name)
            if pocket is None or pocket.since == -math.inf or now < self._away:
                return None
            room = pocket.room
            if now - pocket.since >= LEASE + GRACE / 2.0:  # as where a model fails that was waited for long
                room = max(pocket.told - pocket.held, share_of(pocket.left))
            return usd <= room + CLOSE * usd, max(pocket.left, room)

    # --- spending ---------------------------------------------------------------------------------------------------

    def hold(self, call: str, accounts: Sequence[Account], usd: float) -> None:
        """A call is about to be made that may cost so much; in place of what was held for it before."""
        with self._lock:
            self._release(call)
            self._calls[call] = tuple(account.name for account in accounts), usd
            for account in accounts:
                pocket = self._pocket(account)
                pocket.under_way += usd
                pocket.room -= usd

    def release(self, call: str) -> None:
        """Hold nothing for a call any more."""
        with self._lock:
            self._release(call)

    def _release(self, call: str) -> None:
        names, usd = self._calls.pop(call, ((), 0.0))
        for name in names:
            if (pocket := self._pockets.get(name)) is not None:
                pocket.under_way = _rest(pocket.under_way, usd)
                pocket.room += usd

    def paid(self, accounts: Sequence[Account], usd: float) -> None:
        """So much was spent, and is not stored yet."""
        with self._lock:
            for account in accounts if usd else ():
                pocket = self._pocket(account)
                pocket.unstored += usd
                pocket.room -= usd

    def unstored(self, name: str) -> float:
        """What was spent under an account and is not stored yet."""
        pocket = self._pockets.get(name)
        return 0.0 if pocket is None else pocket.unstored

    # --- storing ----------------------------------------------------------------------------------------------------

    def drain(self) -> tuple[Settled, ...]:
        """What was spent, to be stored with the spending itself."""
        found = []
        with self._lock:
            for pocket in self._pockets.values():
                usd, account = pocket.unstored - pocket.draining, pocket.account
                if usd:
                    pocket.draining = pocket.unstored
                    found.append(Settled(account.name, account.namespace, self._owner, usd, account.kept))
        return tuple(found)

    def stored(self, settled: Sequence[Settled], *, done: bool = True) -> None:
        """What was drained is stored now; or is not, and will be drained again."""
        with self._lock:
            for one in settled:
                if one.owner == self._owner and (pocket := self._pockets.get(one.account)) is not None:
                    pocket.draining = _rest(pocket.draining, one.usd)
                    if done:
                        pocket.unstored = _rest(pocket.unstored, one.usd)
                        pocket.told -= one.usd

    def give_back(self) -> None:
        """Give back what was reserved and is not needed."""
        with self._asking:
            now = time.monotonic()
            with self._lock:
                self._timer = None
                over = [one for one in self._pockets.values() if self._closed or now - one.since >= LEASE]
                owed: Needs = {pocket.account: () for pocket in over if pocket.owes(now)}
            if owed and now >= self._away:
                self._ask(owed)
            with self._lock:
                for pocket in over:
                    if pocket.idle:
                        self._pockets.pop(pocket.account.name, None)
                self._give_back_later()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            timer, reserved = self._timer, bool(self._pockets)
        if timer is not None:
            timer.cancel()
        if reserved:
            self.give_back()

    # All below are called with the lock.

    def _pocket(self, account: Account) -> _Pocket:
        pocket = self._pockets.get(account.name)
        if pocket is None:
            pocket = self._pockets[account.name] = _Pocket(account)
        return pocket

    def _give_back_later(self) -> None:
        if self._timer is None and self._pockets and not self._closed:
            self._timer = threading.Timer(LEASE, _call, (weakref.WeakMethod(self.give_back),))
            self._timer.daemon = True
            self._timer.start()


def purse_of(memory: Memory | None, notices: Notices, *, read_only: bool) -> Purse | None:
    """A purse, where the processes of a memory can spend together."""
    if memory is None or read_only or getattr(memory, "read_only", False) or not hasattr(memory, "reserve"):
        return None
    return Purse(cast("Till", memory), notices)


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    if (alive := method()) is not None:
        alive()


def _rest(usd: float, less: float) -> float:
    """The difference, without what rounding leaves of nothing."""
    return 0.0 if usd - less < _NOTHING else usd - less
