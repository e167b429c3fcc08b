"""What was spent under each ceiling, by this process and, where they share its memory, by others."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from rar.errors import BudgetExceededError
from rar.forking import Lock, in_forked_child
from rar.ledger import Ledger
from rar.limits import DAY, Ceiling, label_of
from rar.memory.base import Memory, Spend
from rar.memory.identity import keyed_digest
from rar.memory.tills import Account as Shared
from rar.naming import cause
from rar.notices import Notices
from rar.observers import Called, Observers
from rar.purses import Purse
from rar.values import Request

Account: TypeAlias = tuple[Any, ...]

LOOKS = 5.0  # seconds after which what other processes spent is looked up again
_HELD = 900.0  # seconds after which a call that nobody heard of again, as an abandoned stream, is taken as paid for
_MOST = 100_000  # accounts that are kept


class Ceilings:
    """Adds up what is spent, and says whether more fits. An observer; any thread may call it.

    What a call is expected to cost is held until it is known, so that calls at the same time do not spend it twice.

    Args:
        memory: Holds what other processes spent, and what was before this one; None: only its own counts.
        purse: Reserves what is spent, so that no process spends what another one does; None: where the memory cannot
            do that, or may not be written. What others spent is then looked up now and then.
    """

    def __init__(
        self,
        ceilings: Sequence[Ceiling],
        ledger: Ledger,
        memory: Memory | None,
        notices: Notices,
        clock: Callable[[], float],
        purse: Purse | None = None,
    ) -> None:
        self._purse = purse
        self._ceilings, self._ledger, self._memory = tuple(ceilings), ledger, memory
        self._notices, self._clock = notices, clock
        self._observers = Observers()
        self._lock = Lock()
        self._spent: OrderedDict[Account, float] = OrderedDict()
        self._held: OrderedDict[str, tuple[float, tuple[Account, ...], float]] = OrderedDict()  # by decision
        self._waiting: dict[Account, float] = {}  # sums of what is held
        self._reached: set[Account] = set()
        self._stored: tuple[int, Mapping[str, float], Mapping[str, float]] = (0, {}, {})  # a day, its sums, all sums
        self._looked = -LOOKS
        in_forked_child(self._forget_held)

    def _forget_held(self) -> None:
        # The parent's calls are the parent's to pay for.
        self._held, self._waiting = OrderedDict(), {}

    def begin(self, observers: Observers) -> None:
        """Look up what was spent before, and tell `observers` from now on when a ceiling is reached."""
        self._observers = observers
        self.look()

    def called(self, event: Called) -> None:
        """Add up what a call cost."""
        with self._lock:
            for account in self._accounts(event.namespace, event.thread, event.at):
                self._spent[account] = self._of(account) + (event.usd or 0.0)
            if event.purpose == "serve":
                self._let_go(event.decision_id)
        if self._purse is not None:
            self._purse.paid(self._shared(event.namespace, event.thread, event.at), event.usd or 0.0)
            if event.purpose == "serve":
                self._purse.release(event.decision_id)

    def ahead(self, request: Request, costs: Sequence[float]) -> Callable[[], None] | None:
        """What is to be called, where one may wait, before `refusal` is asked of such calls; None: nothing is.

        Args:
            costs: Of a call, or of others in its place.
        """
        if self._purse is None:
            return self.look if self.stale else None
        shared = self._shared(request.namespace, label_of(request.thread), self._clock())
        return self._purse.ahead(dict.fromkeys(shared, costs))

    def refusal(self, request: Request, usd: float) -> BudgetExceededError | None:
        """What forbids spending `usd` more on a request; None if nothing does."""
        at = self._clock()
        label = label_of(request.thread)
        for ceiling in self._ceilings:
            account = ceiling.account(request.namespace, label, at)
            if account is None:
                continue
            shared = None if self._purse is None else self._purse.fits(self._as_shared(account, ceiling), usd)
            with self._lock:
                left = ceiling.usd - self._of(account) - self._waiting.get(account, 0.0)
                fits, left = (usd <= left, left) if shared is None else shared
                new = not fits and account not in self._reached
                if new:
                    if len(self._reached) >= _MOST:
                        self._reached.clear()
                    self._reached.add(account)
            if new:
                self._observers.alarm("spent", request.namespace, str(ceiling))
            if not fits:
                return BudgetExceededError(str(ceiling), usd, max(left, 0.0))
        return None

    def hold(self, decision_id: str, request: Request, usd: float) -> None:
        """Hold so much for a decision's calls, in place of what was held before, until the one that serves is known."""
        at = self._clock()
        with self._lock:
            self._let_go(decision_id)
            accounts = self._accounts(request.namespace, label_of(request.thread), at)
            self._held[decision_id] = at, accounts, usd
            for account in accounts:
                self._waiting[account] = self._waiting.get(account, 0.0) + usd
            while self._held and at - next(iter(self._held.values()))[0] > _HELD:
                self._take_as_spent(next(iter(self._held)))
        if self._purse is not None:
            self._purse.hold(decision_id, self._shared(request.namespace, label_of(request.thread), at), usd)

    def release(self, decision_id: str) -> None:
        """Hold nothing for a decision any more."""
        with self._lock:
            self._let_go(decision_id)
        if self._purse is not None:
            self._purse.release(decision_id)

    def left(self, namespaces: Iterable[str]) -> dict[tuple[str, str], float]:
        """USD left under each ceiling, by its text and namespace, `""` where it is of all; none of conversations'."""
        at, found = self._clock(), {}
        with self._lock:
            for ceiling in self._ceilings:
                for name in namespaces if "namespace" in ceiling.periods else ("",):
                    account = ceiling.account(name, "", at)
                    if account is not None:
                        spent = self._of(account) + self._waiting.get(account, 0.0)
                        found[str(ceiling), name] = max(ceiling.usd - spent, 0.0)
        return found

    @property
    def stale(self) -> bool:
        """Whether it is time to `look`, which reads the memory."""
        return self._memory is not None and self._purse is None and not 0.0 <= self._clock() - self._looked < LOOKS

    def look(self) -> None:
        """Look up what all processes spent."""
        if self._memory is None:
            return
        now = self._looked = self._clock()
        try:
            # What is stored first: what is stored between these two looks is missed for a while, not counted twice.
            today, ever = self._memory.spending(since=now), self._memory.spending()
            pending = self._ledger.pending()
        except Exception as error:
            self._notices("ceilings", "What others spent could not be looked up. %s", cause(error))
            return
        with self._lock:
            self._stored = int(now // DAY), _sums([*today, *pending]), _sums([*ever, *pending])
            for account, usd in self._spent.items():
                if account[1] is None:  # the memory knows no threads
                    self._spent[account] = max(usd, self._stored_under(account))

    def _shared(self, namespace: str, thread: str, at: float) -> list[Shared]:
        """The accounts of a call, as all processes name them."""
        found: dict[str, Shared] = {}
        for ceiling in self._ceilings:
            account = ceiling.account(namespace, thread, at)
            if account is not None:
                shared = self._as_shared(account, ceiling)
                found.setdefault(shared.name, shared)
        return list(found.values())

    def _as_shared(self, account: Account, ceiling: Ceiling) -> Shared:
        namespace, thread, day = account
        named = None if thread is None else self._named(namespace, thread)
        name = json.dumps(["spend", namespace, named, day])
        usd = min(other.usd for other in self._ceilings if other.adds_up == ceiling.adds_up)
        weigh = partial(self._weigh, usd, account, name)
        return Shared(name, namespace, 0.0 if day is None else day * DAY, weigh, kept=thread is not None)

    def _named(self, namespace: str, thread: str) -> str:
        assert self._memory is not None
        return keyed_digest(self._memory.secret, f"thread\0{namespace}\0{thread}")

    def _weigh(self, usd: float, account: Account, name: str, stored: Sequence[Spend]) -> tuple[float, float]:
        assert self._purse is not None
        spent = sum(spend.usd for spend in stored) + self._purse.unstored(name)
        if account[1] is None:
            with self._lock:
                self._spent[account] = spent
        return usd, spent

    # All below are called with the lock.

    def _of(self, account: Account) -> float:
        if account not in self._spent:
            self._spent[account] = self._stored_under(account)
            while len(self._spent) > _MOST:
                self._spent.popitem(last=False)
        self._spent.move_to_end(account)
        return self._spent[account]

    def _stored_under(self, account: Account) -> float:
        namespace, thread, day = account
        stored, today, ever = self._stored
        if thread is not None or (day is not None and day != stored):
            return 0.0
        sums = ever if day is None else today
        return sum(sums.values()) if namespace is None else sums.get(namespace, 0.0)

    def _accounts(self, namespace: str, thread: str, at: float) -> tuple[Account, ...]:
        found = (ceiling.account(namespace, thread, at) for ceiling in self._ceilings)
        return tuple(dict.fromkeys(account for account in found if account is not None))

    def _take_as_spent(self, decision_id: str) -> None:
        _, accounts, usd = self._held[decision_id]
        self._let_go(decision_id)
        for account in accounts:
            self._spent[account] = self._of(account) + usd

    def _let_go(self, decision_id: str) -> None:
        _, accounts, usd = self._held.pop(decision_id, (0.0, (), 0.0))
        for account in accounts:
            left = self._waiting.get(account, 0.0) - usd
            if left > 0.0:
                self._waiting[account] = left
            else:
                self._waiting.pop(account, None)


def _sums(spending: Iterable[Spend]) -> dict[str, float]:
    """USD by namespace."""
    sums: dict[str, float] = {}
    for spend in spending:
        sums[spend.namespace] = sums.get(spend.namespace, 0.0) + spend.usd
    return sums
