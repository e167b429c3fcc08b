"""Sums of what was spent, and what routing saved net of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rar.accounts import SERVING
from rar.memory.base import Spend
from rar.prices import Prices, Rates
from rar.values import STRONG

Key: TypeAlias = tuple[str, str, str, str]  # namespace, purpose, role, model


@dataclass(frozen=True, slots=True)
class Savings:
    """What was spent against sending every served call to the strong model.

    `always_strong_usd` prices the tokens of weak answers as the strong model's, with what its provider would have had
    cached; `net_usd` is that less all that was really spent, learning and drafts that were not accepted included.
    `cache_usd` is what was taken off for caches that were lost by changes of the model. All are None unless every call
    could be priced.
    """

    served: int
    served_strong: int
    strong_calls: int  # serving, drafts, guides, judging and audits
    spent_usd: float | None
    learning_usd: float | None
    always_strong_usd: float | None
    net_usd: float | None
    cache_usd: float | None = None

    @property
    def net_share(self) -> float | None:
        return self.net_usd / self.always_strong_usd if self.net_usd is not None and self.always_strong_usd else None


def put(sums: dict[Key, Spend], spend: Spend) -> None:
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
        one.prefix_tokens + other.prefix_tokens,
    )


def merge(*spending: Iterable[Spend]) -> list[Spend]:
    """Sums by namespace, purpose, role and model."""
    sums: dict[Key, Spend] = {}
    for part in spending:
        for spend in part:
            put(sums, spend)
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
        cache_usd=rates.spared(_lost(spending)) if priced and rates is not None else None,
    )


def always_strong(spending: Iterable[Spend], rates: Rates) -> float:
    """USD that the strong model would have cost for all that was served."""
    served = [spend for spend in spending if spend.purpose == "serve"]
    usd = sum(spend.usd if spend.role == STRONG else rates.usd(spend) for spend in served)
    return usd - rates.spared(_lost(served))


def _lost(spending: Iterable[Spend]) -> int:
    return sum(spend.prefix_tokens for spend in spending)
