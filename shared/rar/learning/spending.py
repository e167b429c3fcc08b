"""What learning may cost: its calls wait for a budget and for ceilings, and what they may cost is held meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from rar.accounts import SERVING, account
from rar.ceilings import Ceilings
from rar.errors import BudgetError
from rar.identifiers import new_id
from rar.ledger import Ledger
from rar.limits import DAY
from rar.memory.base import Spend
from rar.memory.tills import Account
from rar.observers import Called
from rar.tokens import sent
from rar.values import GUIDE_MODEL, STRONG, Call, Purpose, Request

_LEAST = 1e-12  # USD: a call that is free needs a budget that is not used up, too


@dataclass(frozen=True)
class Budgets:
    """The learning budget, the judges' and that of a day, which the processes of a memory share. An observer.

    Args:
        share, judge_share, usd_per_day: As in `Ledger`.
    """

    ledger: Ledger
    share: float | None
    judge_share: float | None
    usd_per_day: float | None

    def refuses(self, namespace: str, call: Call, at: float, held: str) -> bool:
        """Whether no budget has room for a call; what it may cost is held under this name if one has.

        Audits keep the quality floor, and their own rate bounds them: only the daily cap ends them.
        """
        purse = self.ledger.purse
        by_own_count = self.ledger.may_learn(namespace, call.purpose, call.model, now=at)
        if purse is None:
            return not by_own_count
        cost = max(self.ledger.learning_cost(namespace, call.purpose, call.model), _LEAST)
        accounts = self._accounts(namespace, call.purpose, at)
        purse.fill(dict.fromkeys(accounts, (cost,)), anew=by_own_count)
        room = [purse.fits(one, cost) for one in accounts]
        if any(found is not None and not found[0] for found in room):
            return True
        if None in room and not by_own_count:
            return True
        purse.hold(held, accounts, cost)
        return False

    def called(self, event: Called) -> None:
        """Add up what a call for learning did cost."""
        purse = self.ledger.purse
        if purse is None or event.purpose in SERVING or event.usage is None or event.cached:
            return
        day, *shares = self._accounts(event.namespace, event.purpose, event.at, day=True)
        purse.paid([day] if self.usd_per_day is not None else [], event.usd or 0.0)
        purse.paid(shares, self.ledger.charge(event))

    def _accounts(self, namespace: str, purpose: Purpose, at: float, *, day: bool = False) -> list[Account]:
        """Those that a call is added up under, that of the day first.

        Args:
            day: With that of the day, whether it has a ceiling or not.
        """
        today = int(at // DAY)
        found = []
        if day or self.usd_per_day is not None:
            weigh = partial(self._weigh_day, today)
            found.append(Account(f"learning {today}", None, today * DAY, weigh))
        share = self.judge_share if purpose == "judge" else self.share
        if share is not None and purpose != "audit":
            kind = "judge" if purpose == "judge" else "learning"
            found.append(
                Account(f"{kind} of {namespace}", namespace, 0.0, partial(self._weigh, namespace, kind, share))
            )
        return found

    def _weigh_day(self, day: int, stored: Sequence[Spend]) -> tuple[float, float]:
        assert self.ledger.purse is not None
        spent = sum(spend.usd for spend in stored if spend.purpose not in SERVING)
        spent += self.ledger.purse.unstored(f"learning {day}")
        self.ledger.learned_today(day, spent)
        return self.usd_per_day or 0.0, spent

    def _weigh(self, namespace: str, kind: str, share: float, stored: Sequence[Spend]) -> tuple[float, float]:
        own = [spend for spend in self.ledger.unstored() if spend.namespace == namespace]
        known = [*(replace(spend, namespace=namespace) for spend in stored), *own]
        self.ledger.know(namespace, known)
        sums = account(known, self.ledger.prices)
        return share * sums.earned, sums.judged if kind == "judge" else sums.learned


class Spending:
    """The calls of one lesson. Some are made at the same time, in threads.

    Args:
        budgets: None: there are none.
        ceilings: What learning and serving may cost together.
    """

    def __init__(
        self, ledger: Ledger, budgets: Budgets, ceilings: Ceilings | None, request: Request, clock: Callable[[], float]
    ) -> None:
        self._ledger, self._budgets, self._ceilings = ledger, budgets, ceilings
        self._request, self._clock = request, clock
        self._held: dict[int, list[str]] = {}  # by the call, which may be made several times

    def admit(self, call: Call, model_id: str) -> None:
        """Hold what a call may cost that is about to be made.

        Raises:
            BudgetError: There is no room for it.
        """
        namespace, name = self._request.namespace, new_id()
        self._held.setdefault(id(call), []).append(name)
        if _is_gated(call) and self._budgets.refuses(namespace, call, self._clock(), name):
            raise BudgetError("The learning budget is spent; learning goes on when serving has caught up.")
        if self._ceilings is not None:
            usd, _ = self._ledger.expects(call, model_id, sent(call), namespace)
            if (ahead := self._ceilings.ahead(self._request, [usd])) is not None:
                ahead()
            if (refusal := self._ceilings.refusal(self._request, usd)) is not None:
                raise BudgetError(str(refusal))
            self._ceilings.hold(name, self._request, usd)

    def made(self, call: Call) -> None:
        """What a call did cost is added up by now."""
        if names := self._held.get(id(call)):
            self._release(names.pop())

    def end(self) -> None:
        """Hold nothing any more."""
        for names in self._held.values():
            for name in names:
                self._release(name)
        self._held = {}

    def _release(self, name: str) -> None:
        if self._ledger.purse is not None:
            self._ledger.purse.release(name)
        if self._ceilings is not None:
            self._ceilings.release(name)


def _is_gated(call: Call) -> bool:
    """Whether a budget may refuse it: samples that verify a guide which was paid for are not refused."""
    if call.purpose == "judge":
        return True
    if call.model in (STRONG, GUIDE_MODEL):
        return call.purpose in ("guide", "audit")
    return call.purpose in ("shadow", "audit")
