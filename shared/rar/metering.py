"""Holding calls to limits and ceilings: before each batch of a strategy, and before each serving call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rar.ceilings import Ceilings
from rar.drive import Models
from rar.errors import BudgetExceededError
from rar.ledger import Ledger
from rar.limits import Ceiling, Limits, OverLimit, as_ceilings
from rar.memory.base import Memory
from rar.notices import Notices
from rar.strategy import Outcome
from rar.tokens import sent
from rar.values import Answer, Call, Choice, Request, Route

_CAUTION = 3.0  # standard deviations above what a call is expected to cost that must fit under a ceiling
_NONE = Limits()


@dataclass(frozen=True)
class Rules:
    """A router's limits.

    Args:
        limits: Of each request that brings none of its own.
    """

    limits: Limits | None
    ceilings: Ceilings | None
    over_limit: OverLimit
    ledger: Ledger
    notices: Notices

    def meter(self, request: Request, models: Models, decision_id: str) -> Meter | None:
        """The meter of a request; None where nothing limits it."""
        limits = self.limits if request.limits is None else request.limits
        if limits is None and self.ceilings is None:
            return None
        return Meter(limits or _NONE, self, request, models, decision_id)


def rules(
    limits: Limits | None,
    spend: Ceiling | Sequence[Ceiling] | None,
    over_limit: OverLimit,
    ledger: Ledger,
    memory: Memory | None,
    notices: Notices,
    clock: Callable[[], float],
) -> Rules:
    """The rules of a router's options."""
    ceilings = as_ceilings(spend)
    found = Ceilings(ceilings, ledger, memory, notices, clock, ledger.purse) if ceilings else None
    return Rules(limits, found, over_limit, ledger, notices)


class Meter:
    """What one request has used. Belongs to its caller."""

    def __init__(self, limits: Limits, rules: Rules, request: Request, models: Models, decision_id: str) -> None:
        self._limits, self._rules, self._request, self._models = limits, rules, request, models
        self._id, self._began = decision_id, time.monotonic()
        self._calls, self._usd, self._kept = 0, 0.0, 0.0
        self._expected: dict[int, list[float]] = {}  # of calls under way, by identity: one may be made several times
        self._length: int | None = None  # tokens of the request as it came
        if limits.usd is not None or rules.ceilings is not None:
            self._kept = min(self._cost(Call(name, request))[0] for name in models)

    @property
    def parallel(self) -> int | None:
        return self._limits.parallel

    # --- a strategy's own calls -------------------------------------------------------------------------------------

    def ahead(self, batch: Sequence[Call]) -> Callable[[], None] | None:
        """What is to be called, where one may wait, before calls are admitted; None: nothing is."""
        if self._rules.ceilings is None:
            return None
        costs = [self._cautious(call) for call in batch if call.model in self._models]
        return self._rules.ceilings.ahead(
            self._request, [sum(costs) + self._kept, *(cost + self._kept for cost in costs)]
        )

    def admit(self, call: Call) -> BudgetExceededError | None:
        """Count a call that is about to be made, unless something forbids it."""
        if call.model not in self._models:
            return None  # for the driver to say
        refusal = self._used_up(kept=1) or self._too_dear(call, self._kept)
        if refusal is None:
            usd = self._cost(call)[0]
            self._calls, self._usd = self._calls + 1, self._usd + usd
            self._expected.setdefault(id(call), []).append(usd)
            self._hold(self._usd)
        return refusal

    def made(self, call: Call, outcome: Outcome) -> None:
        """Put what a call did cost in place of what was expected."""
        self._usd -= self._expected[id(call)].pop()
        self.paid(call, outcome)
        self._hold(self._usd)

    # --- the answer -------------------------------------------------------------------------------------------------

    def ahead_of(self, choice: Choice) -> Callable[[], None] | None:
        """The same before a choice is settled."""
        if self._rules.ceilings is None:
            return None
        self._rules.ceilings.release(self._id)  # the drafts are added up by now
        if isinstance(choice, Answer):
            return None
        costs = [self._cautious(self._call(choice))]
        if self._rules.over_limit == "cheaper" and self._request.force is None:
            costs += [self._cautious(Call(name, self._request)) for name in self._models]
        return self._rules.ceilings.ahead(self._request, [cost for cost in costs if cost <= costs[0]])

    def settle(self, choice: Choice) -> Choice:
        """The choice as it may be served: by a cheaper model perhaps.

        Raises:
            BudgetExceededError: No model may answer.
        """
        if isinstance(choice, Answer):
            return choice
        over = self._used_up()
        refusal = over or self._too_dear(self._call(choice))
        if refusal is None or self._rules.over_limit == "strong":
            if refusal is not None:
                self._rules.notices("over_limit", "%s over_limit='strong': it is made all the same.", refusal)
            return self._serves(choice)
        if self._rules.over_limit == "cheaper" and self._request.force is None:
            for model in self._in_place_of(choice.model, over is not None):
                route = choice if model == choice.model else Route(model, reason="over_limit", messages=choice.messages)
                if self._too_dear(self._call(route)) is None:
                    return self._serves(route)
        raise refusal

    def paid(self, call: Call, outcome: Outcome) -> None:
        """Add what a call did cost, of which nothing was expected yet."""
        self._usd += self._rules.ledger.record(call, outcome).usd or 0.0

    def stands_in(self, route: Route) -> bool:
        """Whether a model may answer in place of one that failed; that is then counted."""
        if not self.allows(route):
            return False
        self._serves(route)
        return True

    def allows(self, route: Route) -> bool:
        """Whether another attempt may be made."""
        return self._rules.over_limit == "strong" or not (self._used_up() or self._too_dear(self._call(route)))

    def _cautious(self, call: Call) -> float:
        usd, spread = self._cost(call)
        return usd + _CAUTION * spread

    # --- small parts ------------------------------------------------------------------------------------------------

    def _used_up(self, kept: int = 0) -> BudgetExceededError | None:
        """What forbids any call.

        Args:
            kept: Calls that are kept for the answer.
        """
        limits = self._limits
        if limits.calls is not None and self._calls + 1 + kept > limits.calls:
            return BudgetExceededError(f"{limits.calls} calls per request")
        if limits.seconds is not None and time.monotonic() - self._began >= limits.seconds:
            return BudgetExceededError(f"{limits.seconds:g} seconds per request")
        return None

    def _too_dear(self, call: Call, kept: float = 0.0) -> BudgetExceededError | None:
        limit, ceilings = self._limits.usd, self._rules.ceilings
        if limit is None and ceilings is None:
            return None
        usd, spread = self._cost(call)
        if limit is not None and self._usd + usd + kept > limit:
            return BudgetExceededError(f"{limit:g} USD per request", usd, max(limit - self._usd, 0.0))
        if ceilings is None:
            return None
        # What this request holds already is part of what waits there.
        return ceilings.refusal(self._request, usd + _CAUTION * spread + kept)

    def _in_place_of(self, model: str, over: bool) -> list[str]:
        """Who may answer in place of a model that does not fit: those that cost less, the dearest first.

        Args:
            over: The request's time is over, which costs nobody an answer: any may, the cheapest first.
        """
        costs = {name: self._cost(Call(name, self._request))[0] for name in self._models}
        names = sorted(costs, key=costs.__getitem__)
        return names if over else [name for name in reversed(names) if costs[name] < costs[model]]

    def _serves(self, route: Route) -> Route:
        self._calls += 1
        if self._rules.ceilings is not None:
            self._hold(self._cost(self._call(route))[0])
        return route

    def _hold(self, usd: float) -> None:
        if self._rules.ceilings is not None:
            self._rules.ceilings.hold(self._id, self._request, usd)

    def _call(self, route: Route) -> Call:
        return Call(route.model, self._request, route.guide, messages=route.messages)

    def _cost(self, call: Call) -> tuple[float, float]:
        """What a call is expected to cost, and how far such calls lie from that."""
        asked = call.request.messages is self._request.messages
        plain = asked and call.guide is None and call.messages is None
        if not plain:
            length = sent(call)
        elif self._length is None:
            length = self._length = sent(call)
        else:
            length = self._length
        return self._rules.ledger.expects(call, self._models[call.model].id, length, self._request.namespace)
