"""Prices of tokens: what the user gave, else what is public."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from rar.errors import ConfigurationError
from rar.forking import LOADING
from rar.memory.base import Spend
from rar.naming import shown
from rar.values import Usage

Price: TypeAlias = tuple[float, float]  # USD per million input and output tokens


class Prices:
    """USD of a call: what the user gave (by model id or by role), else `genai-prices` where it knows the model.

    Args:
        given: `{"gpt-4o": (2.5, 10.0)}` or `{"weak": …, "strong": …}`: USD per million input and output tokens. A third
            number is the price of cached input tokens, which is the input's otherwise.
    """

    def __init__(self, given: Mapping[str, Sequence[float]] | None = None) -> None:
        self._given: Mapping[str, Rates] = {}
        self.update(given or {})

    def update(self, given: Mapping[str, Sequence[float]]) -> None:
        """Set prices, by model id or role, from now on. Any thread may call it; others stay as they are.

        Raises:
            ConfigurationError: One is not two or three numbers of at least 0. Nothing was changed.
        """
        prices = dict(self._given)
        for name, price in given.items():
            try:
                into, out, *cached = (float(usd) for usd in price)
                rates = Rates(into, out, *(cached or [into]))
            except (TypeError, ValueError):
                raise ConfigurationError(
                    f"prices[{shown(name)}]={shown(price)} is no pair. Give USD per million input and output tokens: "
                    "(0.15, 0.6)."
                ) from None
            if isinstance(price, (str, bytes)) or not all(0.0 <= usd < math.inf for usd in rates):
                raise ConfigurationError(
                    f"prices[{shown(name)}]={shown(price)} is negative or not a number. Give USD per million input and "
                    "output tokens: (0.15, 0.6)."
                )
            prices[name] = rates
        self._given = prices

    def of(self, role: str, model_id: str) -> Price | None:
        """USD per million input and output tokens; None if unknown."""
        rates = self.rates(role, model_id)
        return None if rates is None else (rates.into, rates.out)

    def rates(self, role: str, model_id: str) -> Rates | None:
        """`of`, with the price of cached tokens, which is the input's where no other is public."""
        given = self._given.get(model_id) or self._given.get(role)
        return _public_price(model_id) if given is None else given

    def usd(self, role: str, model_id: str, used: Usage | Spend) -> float | None:
        """What tokens cost; None if their price is unknown."""
        rates = self.rates(role, model_id)
        return None if rates is None else rates.usd(used)


class Rates(NamedTuple):
    """USD per million input, output and cached input tokens."""

    into: float
    out: float
    cached: float

    def usd(self, used: Usage | Spend) -> float:
        return (self.into * used.input_tokens + self.out * used.output_tokens) / 1e6 - self.spared(used.cached_tokens)

    def spared(self, cached_tokens: int) -> float:
        """What so many tokens of the input cost less, since they are cached."""
        return cached_tokens * (self.into - self.cached) / 1e6


@lru_cache(maxsize=1_000)
def _public_price(model_id: str) -> Rates | None:
    """None where nobody published one."""
    if not model_id:
        return None
    with LOADING:
        from genai_prices import Usage as PricedUsage
        from genai_prices import calc_price

        # Real prices may have tiers: a call of ordinary size stands for all.
        calls = (
            PricedUsage(input_tokens=1_000, output_tokens=0),
            PricedUsage(input_tokens=0, output_tokens=1_000),
            PricedUsage(input_tokens=1_000, cache_read_tokens=1_000, output_tokens=0),
        )
        try:
            into, out, cached = (float(calc_price(call, model_ref=model_id).total_price) * 1e3 for call in calls)
        except LookupError:
            return None
    return Rates(into, out, cached)
