"""What a call of each model of a table costs: prices that are given, recorded costs, public prices. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from rar.errors import ConfigurationError
from rar.evaluation.table import Array, Table
from rar.prices import Price, Prices
from rar.values import STRONG, WEAK

_ANSWER_TOKENS = 200  # of an answer that was not recorded
_TOKEN = 4  # characters, in English
_PER = 1e6  # tokens that a price is for


@dataclass(frozen=True)
class CallPrice:
    """USD of a call: `usd` for each, or `tokens` per million input and output tokens."""

    usd: float | None = None
    tokens: Price | None = None

    @classmethod
    def parse(cls, option: str) -> tuple[str, CallPrice]:
        """The name and the price of `NAME=USD` or `NAME=IN/OUT`."""
        name, _, written = option.rpartition("=")
        try:
            numbers = [float(part) for part in written.split("/")]
        except ValueError:
            numbers = []
        if not name or len(numbers) not in (1, 2) or not all(0.0 <= number < np.inf for number in numbers):
            raise ConfigurationError(
                f"--price {option!r} is neither NAME=USD, of one call, nor NAME=IN/OUT, USD per million input and "
                "output tokens. Write for example weak=0.0002 or strong=2.5/10."
            )
        return name, cls(usd=numbers[0]) if len(numbers) == 1 else cls(tokens=(numbers[0], numbers[1]))

    def of(self, tokens: Array) -> Array:
        """USD of calls with these input and output tokens, shape `(n, 2)`."""
        if self.tokens is None:
            return np.full(len(tokens), self.usd, np.float64)
        return np.asarray(tokens @ np.array(self.tokens) / _PER, np.float64)


def tokens_of(table: Table, role: str) -> Array:
    """Input and output tokens of each call, shape `(n, 2)`: recorded, else estimated from the texts."""
    if table.tokens is not None:
        return table.tokens[:, 0 if role == WEAK else 1]
    answers = table.weak_answers if role == WEAK else table.strong_answers
    into = [len(text) // _TOKEN for text in table.texts]
    out = [len(answer) // _TOKEN for answer in answers] if answers else [_ANSWER_TOKENS] * len(table)
    return np.array([into, out], np.float64).T


def priced(table: Table, given: Mapping[str, CallPrice] | None = None) -> Table:
    """`table` with the cost of each call in USD, where it can be known of both models.

    The first that is known counts: a price that is given, the recorded cost, the public price of the model's name.

    Args:
        given: By `"weak"`, `"strong"`, a model's name, or its column of scores.

    Raises:
        ConfigurationError: A name is none of the table's, or one model has a price and the other has none.
    """
    known = {role: _names(table, role) for role in (WEAK, STRONG)}
    unknown = sorted((given or {}).keys() - {name for names in known.values() for name in names})
    if unknown:
        listed = ", ".join(dict.fromkeys(name for names in known.values() for name in names))
        raise ConfigurationError(f"--price names {unknown[0]!r}, which is no model here. There are {listed}.")
    costs = {role: _cost(table, role, names, given or {}) for role, names in known.items()}
    lacking = [role for role, (cost, _) in costs.items() if cost is None]
    if lacking and given:
        role = lacking[0]
        raise ConfigurationError(
            f"--price names one model only. Give one for {known[role][-1]!r} as well, for example {role}=0.002."
        )
    (weak, weak_from), (strong, strong_from) = costs[WEAK], costs[STRONG]
    if weak is None or strong is None:
        known_not = " and ".join(known[role][-1] for role in lacking)
        return replace(table, weak_cost=None, strong_cost=None, cost_from=f"no price of {known_not} is known")
    if not strong.any():
        return replace(table, weak_cost=None, strong_cost=None, cost_from="the strong model is free")
    came = weak_from if weak_from == strong_from else f"weak: {weak_from}; strong: {strong_from}"
    return replace(table, weak_cost=weak, strong_cost=strong, cost_from=came)


def engine_prices(table: Table) -> dict[str, Price]:
    """Prices for the router of a replay, so that its learning budget is that of these costs: one for any token."""
    if not table.in_usd:  # what counts is their ratio
        return {WEAK: (table.weak_ratio, table.weak_ratio), STRONG: (1.0, 1.0)}
    means = {}
    for role, cost in zip((WEAK, STRONG), table.call_costs, strict=True):
        means[role] = _PER * float(cost.sum()) / max(float(tokens_of(table, role).sum()), 1.0)
    return {role: (mean, mean) for role, mean in means.items()}


def _cost(table: Table, role: str, names: list[str], given: Mapping[str, CallPrice]) -> tuple[Array | None, str]:
    """USD of each call and where that is from."""
    counted = "recorded tokens" if table.tokens is not None else "estimated tokens"
    for name in names:
        if name in given:
            price = given[name]
            return price.of(tokens_of(table, role)), "given" if price.tokens is None else f"given price, {counted}"
    recorded = table.weak_cost if role == WEAK else table.strong_cost
    if recorded is not None:
        return recorded, table.cost_from or "recorded"
    public = next(filter(None, map(partial(Prices().of, role), names[1:])), None)
    if public is None:
        return None, ""
    return CallPrice(tokens=public).of(tokens_of(table, role)), f"public price, {counted}"


def _names(table: Table, role: str) -> list[str]:
    """What a model may be called: its role, its column, and that without its ending."""
    column = table.weak_id if role == WEAK else table.strong_id
    return list(dict.fromkeys([role, column, re.sub(r"_(correct|score)$", "", column)]))
