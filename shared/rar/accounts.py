"""What a namespace may spend on learning: what its strong answers earned, and what was spent of it.

- A call counts by its price, learning calls against a share of what strong answers cost.
- Judges' calls have a share of their own.
- Where one model's price is not known, weak tokens are taken to cost a tenth of strong ones.
- A free weak model learns for nothing; what the strong model does for learning (guides) is limited.
- Where strong answers are free, a share of their cost means nothing: calls are counted, learning calls against answers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from rar.memory.base import Spend
from rar.prices import Price, Prices
from rar.values import STRONG, WEAK, Purpose

# Stands in for prices that nobody knows, so that the learning budget means something.
_NOMINAL: Price = (1.0, 1.0)  # of the strong model
WEAK_SHARE = 0.1  # the weak model's, as a share of the strong one's: about what pairs of one provider differ by
SERVING: tuple[Purpose, ...] = ("serve", "draft")  # for the user's answer, not for learning


@dataclass(frozen=True, slots=True)
class Account:
    """What a namespace's strong answers earned for learning, and what learning and judges cost, in one unit.

    `calls` says that the unit is calls, since the strong model is free; else it is USD, real or nominal.
    """

    earned: float
    learned: float
    judged: float
    calls: bool


def account(spending: Collection[Spend], prices: Prices) -> Account:
    """The account of one namespace. Audits do not count: their own rate bounds them."""
    strong = [spend for spend in spending if spend.purpose == "serve" and spend.role == STRONG]
    learning = [spend for spend in spending if spend.purpose not in (*SERVING, "audit", "judge")]
    judging = [spend for spend in spending if spend.purpose == "judge"]
    nominal = nominal_prices(spending, prices)
    earned = sum(charged(spend, prices, nominal) for spend in strong)
    if strong and not earned:
        calls = [sum(spend.calls for spend in part) for part in (strong, learning, judging)]
        return Account(calls[0], calls[1], calls[2], calls=True)
    learned, judged = (sum(charged(spend, prices, nominal) for spend in part) for part in (learning, judging))
    return Account(earned, learned, judged, calls=False)


def charged(spend: Spend, prices: Prices, nominal: Mapping[str, Price]) -> float:
    """What a sum of calls counts."""
    if not spend.unpriced:
        return spend.usd
    price = prices.of(spend.role, spend.model_id) or nominal.get(spend.role, nominal[STRONG])
    return _cost(price, spend.input_tokens, spend.output_tokens)


def nominal_prices(spending: Iterable[Spend], prices: Prices) -> dict[str, Price]:
    """What stands in for a price that is not known, by role: in proportion to the other role's, where that is known."""
    known = {spend.role: price for spend in spending if (price := prices.of(spend.role, spend.model_id)) and any(price)}
    strong = known.get(STRONG)
    if strong is None:
        strong = _scaled(known[WEAK], 1.0 / WEAK_SHARE) if WEAK in known else _NOMINAL
    return {STRONG: strong, WEAK: _scaled(strong, WEAK_SHARE)}


def _scaled(price: Price, factor: float) -> Price:
    return price[0] * factor, price[1] * factor


def _cost(price: Price, input_tokens: int, output_tokens: int) -> float:
    return (price[0] * input_tokens + price[1] * output_tokens) / 1e6
