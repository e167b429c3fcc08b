"""The ledger: tokens and USD by purpose and model.

What the learning budget goes by, `rar.accounts` says; what routing saved net, `rar.savings`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from rar.accounts import SERVING, account, charged, nominal_prices
from rar.limits import label_of
from rar.memory.base import Spend
from rar.notices import Notices
from rar.observers import Called
from rar.options import check_options
from rar.prices import Prices
from rar.purses import Purse
from rar.savings import Key, put
from rar.tokens import added_by, counted
from rar.typical import Tokens, Typical
from rar.values import STRONG, Call, CallRecord, Failure, Purpose, Reply, Request, Usage

_GUIDE_ANSWERS = 5.0  # before a first guide was paid for, it is taken to cost as much as so many answers
_USUAL_TOKENS = (300.0, 100.0)  # of a call where none was made yet
_ROUNDING = 1e-9  # of a call: a fifth of five is one


class Ledger:
    """Counts what this process spends; the first of a router's observers. Thread-safe.

    `drain` hands over what is not persisted yet.

    Args:
        budget_share: Learning may cost this share of what the strong model's serving costs (see this module's text for
            free models and unknown prices); None: no limit. Audits do not count: their own rate bounds them.
        judge_share: Judges' calls may cost this share, which is apart from that of learning; None: no limit.
        usd_per_day: Learning may cost this much in a day; None: no limit.
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
        self.purse: Purse | None = None  # reserves what is spent, where processes of one memory spend together
        check_options(
            {"learning_budget": budget_share, "judge_budget": judge_share, "learning_usd_per_day": usd_per_day}
        )
        self.prices = prices
        self._share, self._judge_share, self._usd_per_day = budget_share, judge_share, usd_per_day
        self._notices = notices or Notices()
        self._lock = threading.Lock()
        self._pending: dict[Key, Spend] = {}
        self._draining: tuple[Spend, ...] = ()
        self._known: dict[str, dict[Key, Spend]] = {}  # by namespace, with what earlier processes spent
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
        prefix_tokens: int = 0,
    ) -> None:
        """Count one call, or with `calls=0` what belongs to one that is counted already.

        Args:
            usd: What the provider says that it cost; None: what its tokens cost by their prices.
            prefix_tokens: As in `Spend`.
        """
        usd = self.prices.usd(role, model_id, usage) if usd is None else usd
        spend = Spend(
            namespace, purpose, role, model_id, calls, usage.input_tokens, usage.output_tokens, usd or 0.0,
            calls * (usd is None), calls * usage.estimated, usage.cached_tokens, prefix_tokens,
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
        put(self._pending, spend)
        known = self._known.setdefault(spend.namespace, {})
        put(known, spend)
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

    @property
    def budgets(self) -> tuple[float | None, float | None, float | None]:
        """The share for learning, that for judges, and USD per day."""
        return self._share, self._judge_share, self._usd_per_day

    def learning_cost(self, namespace: str, purpose: Purpose, role: str) -> float:
        """What such a call usually counts against the learning budget, in its unit."""
        with self._lock:
            calls = account(self._known.get(namespace, {}).values(), self.prices).calls
            return 1.0 if calls else self._usual.get((purpose, role), 0.0)

    def charge(self, event: Called) -> float:
        """What a call counts against the learning budget, in its unit."""
        assert event.usage is not None
        spend = Spend(
            event.namespace, event.purpose, event.model, event.model_id, 1, event.usage.input_tokens,
            event.usage.output_tokens, event.usd or 0.0, event.usd is None,
        )  # fmt: skip
        with self._lock:
            known = self._known.get(event.namespace, {}).values()
            if account(known, self.prices).calls:
                return 1.0
            return charged(spend, self.prices, nominal_prices(known, self.prices))

    def know(self, namespace: str, spending: Iterable[Spend]) -> None:
        """Go on from what all processes earned and spent in a namespace."""
        with self._lock:
            sums = self._known[namespace] = {}
            for spend in spending:
                put(sums, spend)

    def learned_today(self, day: int, usd: float) -> None:
        """Go on from what all processes spent on learning today."""
        with self._lock:
            self._today = day, usd

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
        unread = 0 if reply.cached else _unread(call, asked)
        if call.model != STRONG and not reply.cached:
            ids = (*strong_ids, self._strong_id(call.request.namespace))
            strong = self._as_strong(asked, unread, ids)
        elif strong is not None:
            strong -= self._spared(unread, reply.model_id)
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
        if event.usage is None or event.cached:
            return event.usd
        if event.model == STRONG and not event.added_tokens:
            return None if event.usd is None else event.usd - self._spared(event.prefix_tokens, event.model_id)
        asked = _less(event.usage, event.added_tokens)
        return self._as_strong(asked, event.prefix_tokens, (strong_id, self._strong_id(event.namespace)))

    def _as_strong(self, usage: Usage, unread: int, ids: Iterable[str]) -> float | None:
        """What `usage` would have cost by the strong model; `unread` tokens more would have been cached."""
        known = (self.prices.rates(STRONG, id) for id in ids)
        rates = next((one for one in known if one is not None), None)
        return None if rates is None else rates.usd(usage) - rates.spared(unread)

    def _spared(self, unread: int, model_id: str) -> float:
        rates = self.prices.rates(STRONG, model_id) if unread else None
        return 0.0 if rates is None else rates.spared(unread)

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

    def unstored(self) -> list[Spend]:
        """What is not persisted yet, and what is about to be."""
        with self._lock:
            return [*self._pending.values(), *self._draining]

    def drain(self) -> tuple[Spend, ...]:
        with self._lock:
            self._draining = tuple(self._pending.values())
            self._pending.clear()
            return self._draining

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
        self.add(
            event.namespace, event.purpose, *place, asked, now=event.at, usd=own_usd, prefix_tokens=event.prefix_tokens
        )
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
        counts = call.purpose == "serve" and not outcome.cached
        added = added_by(call, usage) if counts else 0
        return Called(
            at, namespace, call.purpose, call.model, outcome.model_id, decision_id, usage, usd, seconds,
            cached=outcome.cached, added_tokens=added, thread=label_of(request.thread),
            prefix_tokens=_unread(call, _less(usage, added)) if counts else 0,
        )  # fmt: skip

    def restore(self, spent: Iterable[Spend]) -> None:
        """Take back what of the drained could not be persisted."""
        with self._lock:
            self._draining = ()
            for spend in spent:
                put(self._pending, spend)

    def forget(self, gone: Callable[[str], bool]) -> None:
        """Drop the sums of namespaces that were deleted."""
        with self._lock:
            self._pending = {key: spend for key, spend in self._pending.items() if not gone(spend.namespace)}
            self._known = {namespace: sums for namespace, sums in self._known.items() if not gone(namespace)}

    def after_fork(self) -> None:
        """A child starts its own sums; those of the parent are the parent's to persist."""
        self._lock = threading.Lock()
        self._notices.after_fork()
        self._pending, self._draining = {}, ()

    def seed(self, spending: Iterable[Spend]) -> None:
        """Begin with what earlier processes earned and spent, so that the budget outlives them."""
        with self._lock:
            for spend in spending:
                put(self._known.setdefault(spend.namespace, {}), spend)

    def seed_anew(self, spending: Iterable[Spend]) -> None:
        """Go on from what all processes have stored, and what this one has not yet."""
        with self._lock:
            known: dict[str, dict[Key, Spend]] = {}
            for spend in (*spending, *self._pending.values(), *self._draining):
                put(known.setdefault(spend.namespace, {}), spend)
            self._known = known


def _less(usage: Usage, tokens: int) -> Usage:
    """`usage` without so many tokens of the input; those that were cached go last."""
    if not tokens:
        return usage
    left = usage.input_tokens - tokens
    return replace(usage, input_tokens=left, cached_tokens=min(usage.cached_tokens, left))


def _unread(call: Call, usage: Usage) -> int:
    """Tokens of the input that the strong model alone would have had cached, and that were not."""
    evidence = call.request.evidence
    if evidence is None:
        return 0
    uncached = usage.input_tokens - usage.cached_tokens
    if call.model == STRONG:
        return min(evidence.missed, uncached)
    return max(min(evidence.prefix, usage.input_tokens) - usage.cached_tokens, 0)
