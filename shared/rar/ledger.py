"""The ledger: tokens and USD by purpose and model, and what routing saved net."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from rar.errors import ConfigurationError
from rar.memory.base import Spend
from rar.values import STRONG, WEAK, Call, Failure, Purpose, Reply, Usage

Price: TypeAlias = tuple[float, float]  # USD per million input and output tokens

# Stands in for prices that nobody knows, so that the learning budget means something: weak tokens at a tenth of strong.
_NOMINAL: dict[str, Price] = {WEAK: (0.1, 0.1), STRONG: (1.0, 1.0)}


class Prices:
    """USD of a call: what the user gave (by model id or by role), else `genai-prices` where it knows the model.

    Args:
        given: `{"gpt-4o": (2.5, 10.0)}` or `{"weak": …, "strong": …}`: USD per million input and output tokens.
    """

    def __init__(self, given: Mapping[str, Sequence[float]] | None = None) -> None:
        self._given: dict[str, Price] = {}
        for name, price in (given or {}).items():
            try:
                into, out = (float(usd) for usd in price)
            except (TypeError, ValueError):
                raise ConfigurationError(
                    f"prices[{name!r}]={price!r} is no pair. Give USD per million input and output tokens: (0.15, 0.6)."
                ) from None
            if not (into >= 0.0 and out >= 0.0):
                raise ConfigurationError(f"prices[{name!r}]={price!r} is negative or not a number.")
            self._given[name] = (into, out)

    def of(self, role: str, model_id: str) -> Price | None:
        """USD per million input and output tokens; None if unknown."""
        return self._given.get(model_id) or self._given.get(role) or _public_price(model_id)

    def usd(self, role: str, model_id: str, usage: Usage) -> float | None:
        price = self.of(role, model_id)
        return None if price is None else _cost(price, usage.input_tokens, usage.output_tokens)


@dataclass(frozen=True, slots=True)
class Savings:
    """What was spent against sending every served call to the strong model.

    `always_strong_usd` prices the tokens of weak answers as the strong model's; `net_usd` is that less all that was
    really spent, learning included. All are None unless every call could be priced.
    """

    served: int
    served_strong: int
    strong_calls: int  # serving, guides, judging and audits
    spent_usd: float | None
    learning_usd: float | None
    always_strong_usd: float | None
    net_usd: float | None

    @property
    def net_share(self) -> float | None:
        return self.net_usd / self.always_strong_usd if self.net_usd is not None and self.always_strong_usd else None


class Ledger:
    """Counts what this process spends. Thread-safe; `drain` hands over what is not persisted yet.

    Args:
        budget_share: Learning may cost this share of what the strong model's serving costs; None: no limit. Audits
            do not count: their own rate bounds them.
        usd_per_day: Learning may cost this much in a day of this process; None: no limit.
    """

    def __init__(self, prices: Prices, *, budget_share: float | None = 0.2, usd_per_day: float | None = None) -> None:
        for name, value in (("learning_budget", budget_share), ("learning_usd_per_day", usd_per_day)):
            if value is not None and not value >= 0.0:
                raise ConfigurationError(f"{name}={value!r} is negative. Use 0 to learn nothing, None for no limit.")
        self.prices = prices
        self._share, self._usd_per_day = budget_share, usd_per_day
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, Purpose, str, str], Spend] = {}
        self._earned: dict[str, float] = {}  # by namespace, in nominal or real USD
        self._learned: dict[str, float] = {}
        self._today = (0, 0.0)
        self._usual: dict[
            tuple[str, str], float
        ] = {}  # cost of a call by purpose and role, the last ones counting most

    def add(
        self, namespace: str, purpose: Purpose, role: str, model_id: str, usage: Usage, *, now: float = 0.0
    ) -> None:
        """Count one call."""
        usd = self.prices.usd(role, model_id, usage)
        nominal = _NOMINAL.get(role, (1.0, 1.0))
        cost = usd if usd is not None else _cost(nominal, usage.input_tokens, usage.output_tokens)
        key = (namespace, purpose, role, model_id)
        with self._lock:
            was = self._pending.get(key) or Spend(*key)
            self._pending[key] = Spend(
                *key,
                was.calls + 1,
                was.input_tokens + usage.input_tokens,
                was.output_tokens + usage.output_tokens,
                was.usd + (usd or 0.0),
                was.unpriced + (usd is None),
            )
            if purpose == "serve":
                if role == STRONG:
                    self._earned[namespace] = self._earned.get(namespace, 0.0) + cost
                    # Before a first guide was paid for, it is taken to cost as much as five answers.
                    self._usual.setdefault(("guide", STRONG), 5.0 * cost)
                return
            if purpose != "audit":
                self._learned[namespace] = self._learned.get(namespace, 0.0) + cost
            usual = self._usual.get((purpose, role), cost)
            self._usual[purpose, role] = usual + 0.2 * (cost - usual)
            day = int(now // 86_400)
            self._today = (day, (self._today[1] if self._today[0] == day else 0.0) + (usd or 0.0))

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
            if self._share is None or purpose == "audit":
                return True
            budget = self._share * self._earned.get(namespace, 0.0)
            learned = self._learned.get(namespace, 0.0)
            return learned < budget and learned + cost <= budget

    def pending(self) -> list[Spend]:
        with self._lock:
            return list(self._pending.values())

    def drain(self) -> tuple[Spend, ...]:
        with self._lock:
            spent = tuple(self._pending.values())
            self._pending.clear()
            return spent

    def observe(self, namespace: str, call: Call, outcome: Reply | Failure, *, now: float) -> None:
        """Count a call that a driver made, if it came back."""
        if isinstance(outcome, Reply):
            self.add(namespace, call.purpose, call.model, outcome.model_id, outcome.usage, now=now)

    def restore(self, spent: Iterable[Spend]) -> None:
        """Take back what could not be persisted."""
        with self._lock:
            for spend in merge(spent, self._pending.values()):
                self._pending[spend.namespace, spend.purpose, spend.role, spend.model_id] = spend

    def after_fork(self) -> None:
        """A child starts its own sums; those of the parent are the parent's to persist."""
        self._lock = threading.Lock()
        self._pending = {}

    def seed(self, spending: Iterable[Spend]) -> None:
        """Begin with what earlier processes earned and spent, so that the budget outlives them."""
        with self._lock:
            for spend in spending:
                nominal = _cost(_NOMINAL.get(spend.role, (1.0, 1.0)), spend.input_tokens, spend.output_tokens)
                cost = nominal if spend.unpriced else spend.usd
                if spend.purpose != "serve":
                    self._learned[spend.namespace] = self._learned.get(spend.namespace, 0.0) + cost
                elif spend.role == STRONG:
                    self._earned[spend.namespace] = self._earned.get(spend.namespace, 0.0) + cost


def merge(*spending: Iterable[Spend]) -> list[Spend]:
    """Sums by namespace, purpose, role and model."""
    sums: dict[tuple[str, str, str, str], Spend] = {}
    for spend in (entry for part in spending for entry in part):
        key = (spend.namespace, spend.purpose, spend.role, spend.model_id)
        known = sums.get(key)
        if known is None:
            sums[key] = spend
            continue
        sums[key] = replace(
            known,
            calls=known.calls + spend.calls,
            input_tokens=known.input_tokens + spend.input_tokens,
            output_tokens=known.output_tokens + spend.output_tokens,
            usd=known.usd + spend.usd,
            unpriced=known.unpriced + spend.unpriced,
        )
    return sorted(sums.values(), key=lambda spend: (spend.namespace, spend.purpose, spend.role, spend.model_id))


def savings(spending: Sequence[Spend], prices: Prices) -> Savings:
    """The net saving of `spending` against always-strong, priced as the strong model that served most."""
    serve = [spend for spend in spending if spend.purpose == "serve"]
    strong = [spend for spend in spending if spend.role == STRONG]
    served_strong = sum(spend.calls for spend in serve if spend.role == STRONG)
    usual = max(strong, key=lambda spend: spend.calls, default=None)
    price = prices.of(STRONG, usual.model_id if usual else "")
    priced = price is not None and not any(spend.unpriced for spend in spending)
    spent = sum(spend.usd for spend in spending)
    always = 0.0
    if price is not None:
        for spend in serve:
            always += spend.usd if spend.role == STRONG else _cost(price, spend.input_tokens, spend.output_tokens)
    return Savings(
        served=sum(spend.calls for spend in serve),
        served_strong=served_strong,
        strong_calls=sum(spend.calls for spend in strong),
        spent_usd=spent if priced else None,
        learning_usd=sum(spend.usd for spend in spending if spend.purpose != "serve") if priced else None,
        always_strong_usd=always if priced else None,
        net_usd=always - spent if priced else None,
    )


def _cost(price: Price, input_tokens: int, output_tokens: int) -> float:
    return (price[0] * input_tokens + price[1] * output_tokens) / 1e6


@lru_cache(maxsize=1_000)
def _public_price(model_id: str) -> Price | None:
    if not model_id:
        return None
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    try:
        # Real prices may have tiers: a call of ordinary size stands for all.
        into = calc_price(PricedUsage(input_tokens=1_000, output_tokens=0), model_ref=model_id)
        out = calc_price(PricedUsage(input_tokens=0, output_tokens=1_000), model_ref=model_id)
    except LookupError:
        return None
    return float(into.total_price) * 1e3, float(out.total_price) * 1e3
