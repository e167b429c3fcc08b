"""The ledger: tokens and USD by purpose and model, and what routing saved net.

What the learning budget goes by, `rar.accounts` says.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from rar.accounts import SERVING, account, charged, nominal_prices
from rar.limits import label_of
from rar.memory.base import Spend
from rar.notices import Notices
from rar.observers import Called
from rar.options import check_options
from rar.prices import Prices, Rates
from rar.tokens import added_by, counted
from rar.typical import Tokens, Typical
from rar.values import STRONG, Call, CallRecord, Failure, Purpose, Reply, Request, Usage

_Key: TypeAlias = tuple[str, str, str, str]  # namespace, purpose, role, model

_GUIDE_ANSWERS = 5.0  # before a first guide was paid for, it is taken to cost as much as so many answers
_USUAL_TOKENS = (300.0, 100.0)  # of a call where none was made yet
_ROUNDING = 1e-9  # of a call: a fifth of five is one


@dataclass(frozen=True, slots=True)
class Savings:
    """What was spent against sending every served call to the strong model.

    `always_strong_usd` prices the tokens of weak answers as the strong model's; `net_usd` is that less all that was
    really spent, learning and drafts that were not accepted included. All are None unless every call could be priced.
    """

    served: int
    served_strong: int
    strong_calls: int  # serving, drafts, guides, judging and audits
    spent_usd: float | None
    learning_usd: float | None
    always_strong_usd: float | None
    net_usd: float | None

    @property
    def net_share(self) -> float | None:
        return self.net_usd / self.always_strong_usd if self.net_usd is not None and self.always_strong_usd else None


class Ledger:
    """Counts what this process spends; the first of a router's observers. Thread-safe.

    `drain` hands over what is not persisted yet.

    Args:
        budget_share: Learning may cost this share of what the strong model's serving costs (see this module's text for
            free models and unknown prices); None: no limit. Audits do not count: their own rate bounds them.
        judge_share: Judges' calls may cost this share, which is apart from that of learning; None: no limit.
        usd_per_day: Learning may cost this much in a day of this process; None: no limit.
        notices: Told once of a model without a known price, and once that learning pauses.
    """

    def __init__(
        self,
        prices: Prices,
        *,
        budget_share: float | None = 0.2,
        judge_share: float | None = 0.1,
        usd_per_day: float | None = None,
        notices: Notices | None = None,
    ) -> None:
        check_options(
            {"learning_budget": budget_share, "judge_budget": judge_share, "learning_usd_per_day": usd_per_day}
        )
        self.prices = prices
        self._share, self._judge_share, self._usd_per_day = budget_share, judge_share, usd_per_day
        self._notices = notices or Notices()
        self._lock = threading.Lock()
        self._pending: dict[_Key, Spend] = {}
        self._known: dict[str, dict[_Key, Spend]] = {}  # by namespace, with what earlier processes spent
        self._today = (0, 0.0)
        self.calls = 0  # that were counted in this process
        self._typical = Typical()
        # Cost of a call by purpose and role, the last ones counting most.
        self._usual: dict[tuple[str, str], float] = {}

    def add(
        self,
        namespace: str,
        purpose: Purpose,
        role: str,
        model_id: str,
        usage: Usage,
        *,
        now: float = 0.0,
        calls: int = 1,
        usd: float | None = None,
    ) -> None:
        """Count one call, or with `calls=0` what belongs to one that is counted already.

        Args:
            usd: What the provider says that it cost; None: what its tokens cost by their prices.
        """
        usd = self.prices.usd(role, model_id, usage) if usd is None else usd
        spend = Spend(
            namespace, purpose, role, model_id, calls, usage.input_tokens, usage.output_tokens, usd or 0.0,
            calls * (usd is None), calls * usage.estimated, usage.cached_tokens,
        )  # fmt: skip
        with self._lock:
            self._count(spend, now)
        if usd is None:
            self._tell_unpriced(role, model_id)

    def _tell_unpriced(self, role: str, model_id: str) -> None:
        self._notices(
            "unpriced",
            "No price is known for the %s model %r, so what it costs is missing from all sums in USD, and the learning "
            "budget takes weak tokens to cost a tenth of strong ones. Pass prices={%r: (USD per million input tokens, "
            "per million output tokens)}; (0, 0) if it is free.",
            role,
            model_id,
            model_id or role,
            advice=True,
        )

    def _count(self, spend: Spend, now: float) -> None:
        self.calls += spend.calls
        purpose, role = spend.purpose, spend.role
        if whole := spend.calls * (spend.input_tokens + spend.output_tokens) > 0:  # an answer made of drafts has none
            self._typical.add(role, spend.model_id, purpose, spend.input_tokens, spend.output_tokens)
        _put(self._pending, spend)
        known = self._known.setdefault(spend.namespace, {})
        _put(known, spend)
        cost = charged(spend, self.prices, nominal_prices(known.values(), self.prices))
        if purpose in SERVING:
            if role == STRONG and whole:
                self._usual.setdefault(("guide", STRONG), _GUIDE_ANSWERS * cost)
        else:
            usual = self._usual.get((purpose, role), cost)
            self._usual[purpose, role] = usual + 0.2 * (cost - usual)
            day = int(now // 86_400)
            self._today = (day, (self._today[1] if self._today[0] == day else 0.0) + spend.usd)

    def expected_usd(self, namespace: str, role: str, model_id: str) -> float | None:
        """What a serving call of a model is expected to cost, by its price and the tokens of its calls before.

        Those of all models count where it was not called yet. None where its price is not known.
        """
        price = self.prices.of(role, model_id)
        if price is None:
            return None
        tokens = self._usual_tokens(namespace, role, model_id, "serve")
        return (price[0] * tokens.into + price[1] * tokens.out) / 1e6

    def expects(self, call: Call, model_id: str, length: int, namespace: str) -> tuple[float, float]:
        """USD that `call` is expected to cost, and how far such calls lie from that; zeros where no price is known.

        Args:
            length: Tokens that it sends.
        """
        price = self.prices.of(call.model, model_id)
        if price is None:
            return 0.0, 0.0
        tokens = self._usual_tokens(namespace, call.model, model_id, call.purpose)
        most = None if call.sampling is None else call.sampling.max_tokens
        out = tokens.out if most is None else min(tokens.out, most)
        return (price[0] * length + price[1] * out) / 1e6, price[1] * math.sqrt(tokens.variance) / 1e6

    def _usual_tokens(self, namespace: str, role: str, model_id: str, purpose: Purpose) -> Tokens:
        """The tokens of such calls before; of the model's calls in earlier processes, then of all models' calls."""
        with self._lock:
            tokens = self._typical.of(role, model_id, purpose)
            if tokens is not None:
                return tokens
            known = [spend for spend in self._known.get(namespace, {}).values() if spend.purpose in SERVING]
        known = [spend for spend in known if (spend.role, spend.model_id) == (role, model_id)] or known
        calls = sum(spend.calls for spend in known)
        into, out = sum(spend.input_tokens for spend in known), sum(spend.output_tokens for spend in known)
        return Tokens.about(into / calls, out / calls) if calls else Tokens.about(*_USUAL_TOKENS)

    def may_learn(self, namespace: str, purpose: Purpose, role: str, *, now: float = 0.0) -> bool:
        """Whether the budget has room for a call of this kind, going by what such calls cost before.

        Audits keep the quality floor, and their own rate bounds them: only the daily cap ends them.
        """
        with self._lock:
            cost = self._usual.get((purpose, role), 0.0)
            if self._usd_per_day is not None:
                spent = self._today[1] if self._today[0] == int(now // 86_400) else 0.0
                if spent + cost > self._usd_per_day or spent >= self._usd_per_day:
                    return False
            share = self._judge_share if purpose == "judge" else self._share
            if share is None or purpose == "audit":
                return True
            sums = account(self._known.get(namespace, {}).values(), self.prices)
            spent = sums.judged if purpose == "judge" else sums.learned
            budget = share * sums.earned + _ROUNDING * sums.calls
            return spent < budget and spent + (1.0 if sums.calls else cost) <= budget

    def budgets_left(self, namespace: str, now: float) -> dict[str, float]:
        """The part of each budget that is left, from 0 to 1; none of one without a limit, or that earned nothing."""
        with self._lock:
            sums = account(self._known.get(namespace, {}).values(), self.prices)
            day = self._today[1] if self._today[0] == int(now // 86_400) else 0.0
        budgets = {
            "learning": (None if self._share is None else self._share * sums.earned, sums.learned),
            "judge": (None if self._judge_share is None else self._judge_share * sums.earned, sums.judged),
            "day": (self._usd_per_day, day),
        }
        return {name: min(max(1.0 - spent / whole, 0.0), 1.0) for name, (whole, spent) in budgets.items() if whole}

    def tell_paused(self) -> None:
        """Say, the first time, that learning waits for the budget, and what can be done."""
        self._notices(
            "budget",
            "Learning pauses: it has had its share of what strong answers cost, or of their number where they are free "
            "(learning_budget=%r, judge_budget=%r, learning_usd_per_day=%r). It goes on by itself as serving goes on. "
            "To learn faster, raise these, or pass learning_budget=None for no limit; `rar stats` shows what was spent "
            "on what.",
            self._share,
            self._judge_share,
            self._usd_per_day,
            advice=True,
        )

    def costs(self, call: Call, reply: Reply, strong_ids: Iterable[str]) -> dict[str, Any]:
        """What a served call used and cost, and would have cost by the strong model; USD None where no price is known.

        Its record is the one of `calls`.

        Args:
            strong_ids: Names of the strong model, likeliest first; the first with a known price counts.
        """
        usage = counted(call, reply)
        usd = self._cost_of(call, reply, usage)
        asked = _less(usage, added_by(call, usage))
        strong = usd if asked == usage else self.prices.usd(call.model, reply.model_id, asked)
        if call.model != STRONG and not reply.cached:
            asked = _with_prefix(asked, call.request)
            ids = (*strong_ids, self._strong_id(call.request.namespace))
            prices = (self.prices.usd(STRONG, id, asked) for id in ids)
            strong = next((price for price in prices if price is not None), None)
        return {
            "usd": usd,
            "strong_usd": strong,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "estimated": usage.estimated,
            "calls": [CallRecord(call.model, call.purpose, usage, reply.seconds, usd).as_dict()],
        }

    def strong_usd(self, event: Called, strong_id: str) -> float | None:
        """What the strong model would have cost for the tokens of a served call, without what a strategy added.

        None where no price is known.
        """
        if event.usage is None or event.cached or (event.model == STRONG and not event.added_tokens):
            return event.usd
        asked = _less(event.usage, event.added_tokens)
        known = (self.prices.usd(STRONG, id, asked) for id in (strong_id, self._strong_id(event.namespace)))
        return next((usd for usd in known if usd is not None), None)

    def record(self, call: Call, outcome: Reply | Failure) -> CallRecord:
        """What is said of a call on a decision."""
        if isinstance(outcome, Failure):
            return CallRecord(call.model, call.purpose, seconds=outcome.seconds, usd=0.0, failed=True)
        usage = counted(call, outcome)
        return CallRecord(call.model, call.purpose, usage, outcome.seconds, self._cost_of(call, outcome, usage))

    def _cost_of(self, call: Call, reply: Reply, usage: Usage) -> float | None:
        if reply.cached:
            return 0.0
        return reply.usd if reply.usd is not None else self.prices.usd(call.model, reply.model_id, usage)

    def _strong_id(self, namespace: str) -> str:
        """Name of the strong model that was called most."""
        with self._lock:
            strong = [spend for spend in self._known.get(namespace, {}).values() if spend.role == STRONG]
        return max(strong, key=lambda spend: spend.calls).model_id if strong else ""

    def pending(self) -> list[Spend]:
        with self._lock:
            return list(self._pending.values())

    def drain(self) -> tuple[Spend, ...]:
        with self._lock:
            spent = tuple(self._pending.values())
            self._pending.clear()
            return spent

    def called(self, event: Called) -> None:
        """Count a call that was made, if it came back and was no cache's."""
        if event.usage is None or event.cached:
            return
        asked, more_usd = _less(event.usage, event.added_tokens), None
        more = Usage(event.added_tokens, cached_tokens=event.usage.cached_tokens - asked.cached_tokens)
        if event.usd is not None and event.added_tokens:
            more_usd = event.usd * self._share_of(more, event)
        own_usd = event.usd if more_usd is None or event.usd is None else event.usd - more_usd
        place = event.model, event.model_id
        self.add(event.namespace, event.purpose, *place, asked, now=event.at, usd=own_usd)
        if event.added_tokens:  # nobody would have paid for it without the strategy
            self.add(event.namespace, "draft", *place, more, now=event.at, calls=0, usd=more_usd)

    def _share_of(self, part: Usage, event: Called) -> float:
        """The share of a call's cost that is that of a part of its tokens."""
        assert event.usage is not None
        usd, whole = (self.prices.usd(event.model, event.model_id, used) for used in (part, event.usage))
        return part.total / max(event.usage.total, 1) if usd is None or not whole else usd / whole

    def event_of(
        self, call: Call, outcome: Reply | Failure, request: Request, *, at: float, decision_id: str
    ) -> Called:
        """What observers are told of a call, this ledger first. Tokens that nobody reported are estimated.

        Args:
            request: The user's, for which it was made; a call for a judge has another.
        """
        namespace, seconds = request.namespace, outcome.seconds
        if isinstance(outcome, Failure):
            error = type(outcome.error).__name__
            return Called(
                at, namespace, call.purpose, call.model, "", decision_id,
                seconds=seconds, error=error, thread=label_of(request.thread),
            )  # fmt: skip
        usage = counted(call, outcome)
        usd = self._cost_of(call, outcome, usage)
        added = added_by(call, usage) if call.purpose == "serve" and not outcome.cached else 0
        return Called(
            at, namespace, call.purpose, call.model, outcome.model_id, decision_id, usage, usd, seconds,
            cached=outcome.cached, added_tokens=added, thread=label_of(request.thread),
        )  # fmt: skip

    def restore(self, spent: Iterable[Spend]) -> None:
        """Take back what could not be persisted."""
        with self._lock:
            for spend in spent:
                _put(self._pending, spend)

    def forget(self, gone: Callable[[str], bool]) -> None:
        """Drop the sums of namespaces that were deleted."""
        with self._lock:
            self._pending = {key: spend for key, spend in self._pending.items() if not gone(spend.namespace)}
            self._known = {namespace: sums for namespace, sums in self._known.items() if not gone(namespace)}

    def after_fork(self) -> None:
        """A child starts its own sums; those of the parent are the parent's to persist."""
        self._lock = threading.Lock()
        self._notices.after_fork()
        self._pending = {}

    def seed(self, spending: Iterable[Spend]) -> None:
        """Begin with what earlier processes earned and spent, so that the budget outlives them."""
        with self._lock:
            for spend in spending:
                _put(self._known.setdefault(spend.namespace, {}), spend)

    def seed_anew(self, spending: Iterable[Spend]) -> None:
        """Go on from what all processes have stored, and what this one has not yet."""
        with self._lock:
            known: dict[str, dict[_Key, Spend]] = {}
            for spend in (*spending, *self._pending.values()):
                _put(known.setdefault(spend.namespace, {}), spend)
            self._known = known


def _less(usage: Usage, tokens: int) -> Usage:
    """`usage` without so many tokens of the input; those that were cached go last."""
    if not tokens:
        return usage
    left = usage.input_tokens - tokens
    return replace(usage, input_tokens=left, cached_tokens=min(usage.cached_tokens, left))


def _with_prefix(usage: Usage, request: Request) -> Usage:
    """`usage` as the strong model's, which would have cached what it had read in the calls before."""
    prefix = 0 if request.evidence is None else min(request.evidence.prefix, usage.input_tokens)
    return replace(usage, cached_tokens=max(usage.cached_tokens, prefix))


def _put(sums: dict[_Key, Spend], spend: Spend) -> None:
    """Add `spend` to the sum that it belongs to."""
    key = (spend.namespace, spend.purpose, spend.role, spend.model_id)
    known = sums.get(key)
    sums[key] = spend if known is None else _plus(known, spend)


def _plus(one: Spend, other: Spend) -> Spend:
    return Spend(
        one.namespace,
        one.purpose,
        one.role,
        one.model_id,
        one.calls + other.calls,
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.usd + other.usd,
        one.unpriced + other.unpriced,
        one.estimated + other.estimated,
        one.cached_tokens + other.cached_tokens,
    )


def merge(*spending: Iterable[Spend]) -> list[Spend]:
    """Sums by namespace, purpose, role and model."""
    sums: dict[_Key, Spend] = {}
    for part in spending:
        for spend in part:
            _put(sums, spend)
    return [sums[key] for key in sorted(sums)]


def savings(spending: Sequence[Spend], prices: Prices) -> Savings:
    """The net saving of `spending` against always-strong, priced as the strong model that served most."""
    serve = [spend for spend in spending if spend.purpose == "serve"]
    strong = [spend for spend in spending if spend.role == STRONG]
    served_strong = sum(spend.calls for spend in serve if spend.role == STRONG)
    usual = max(strong, key=lambda spend: spend.calls, default=None)
    rates = prices.rates(STRONG, usual.model_id if usual else "")
    priced = rates is not None and not any(spend.unpriced for spend in spending)
    spent = sum(spend.usd for spend in spending)
    always = 0.0 if rates is None else always_strong(spending, rates)
    return Savings(
        served=sum(spend.calls for spend in serve),
        served_strong=served_strong,
        strong_calls=sum(spend.calls for spend in strong),
        spent_usd=spent if priced else None,
        learning_usd=sum(spend.usd for spend in spending if spend.purpose not in SERVING) if priced else None,
        always_strong_usd=always if priced else None,
        net_usd=always - spent if priced else None,
    )


def always_strong(spending: Iterable[Spend], rates: Rates) -> float:
    """USD that the strong model would have cost for all that was served."""
    return sum(
        spend.usd if spend.role == STRONG else rates.usd(spend) for spend in spending if spend.purpose == "serve"
    )
