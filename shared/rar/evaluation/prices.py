"""What a call of each recorded model costs: prices that are given, recorded costs, public prices. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from rar.errors import ConfigurationError
from rar.linear import Array
from rar.outcomes import Outcomes
from rar.prices import Price, Prices
from rar.values import STRONG

T = TypeVar("T", bound=Outcomes)
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


def tokens_of(outcomes: Outcomes, model: int) -> Array:
    """Input and output tokens of each call, shape `(n, 2)` or `(n, k, 2)`: recorded, else estimated from the texts."""
    replies = outcomes.replies
    if replies is not None and replies.tokens is not None:
        return np.asarray(replies.tokens[:, model], np.float64)
    into = np.array([len(text) // _TOKEN for text in outcomes.texts], np.float64)
    if replies is None or replies.texts is None:
        return np.stack([into, np.full(len(into), float(_ANSWER_TOKENS))], 1)
    said = replies.texts[:, model]
    out = np.array([len(str(text)) // _TOKEN for text in said.flat], np.float64).reshape(said.shape)
    return np.stack([np.broadcast_to(into.reshape(-1, *[1] * (out.ndim - 1)), out.shape), out], -1)


def priced(outcomes: T, given: Mapping[str, CallPrice] | None = None) -> T:
    """Outcomes with the cost of each call in USD, where it can be known of all models.

    The first that is known counts: a price that is given, the recorded cost, the public price of the model's name.

    Args:
        given: By `"weak"`, `"strong"`, a model's name, or its column of scores.

    Raises:
        ConfigurationError: A name is none of the models', or some have a price and others have none.
    """
    known = {role: _names(role, model) for role, model in zip(outcomes.roles, outcomes.models, strict=True)}
    unknown = sorted((given or {}).keys() - {name for names in known.values() for name in names})
    if unknown:
        listed = ", ".join(dict.fromkeys(name for names in known.values() for name in names))
        raise ConfigurationError(f"--price names {unknown[0]!r}, which is no model here. There are {listed}.")
    found = {role: _cost(outcomes, role, names, given or {}) for role, names in known.items()}
    lacking = [role for role, (cost, _) in found.items() if cost is None]
    if lacking and given:
        role = lacking[0]
        raise ConfigurationError(
            f"--price names one model only. Give one for {known[role][-1]!r} as well, for example {role}=0.002."
        )
    costs = [cost for cost, _ in found.values() if cost is not None]
    if lacking:
        known_not = " and ".join(known[role][-1] for role in lacking)
        return replace(outcomes, costs=None, cost_from=f"no price of {known_not} is known")
    if not costs[-1].any():
        return replace(outcomes, costs=None, cost_from="the strong model is free")
    came = {role: where for role, (_, where) in found.items()}
    alike = len(set(came.values())) == 1
    cost_from = came[STRONG] if alike else "; ".join(f"{role}: {where}" for role, where in came.items())
    return replace(outcomes, costs=np.stack(costs, 1), cost_from=cost_from)


def engine_prices(outcomes: Outcomes) -> dict[str, Price]:
    """What the router of a replay is told of prices: the mean cost of each model's tokens, one for any of them.

    So it expects of a call what such calls cost on average; what each did cost, its reply says.
    """
    if not outcomes.in_usd:  # what counts is their ratio
        return {role: (1.0, 1.0) if role == STRONG else (outcomes.weak_ratio,) * 2 for role in outcomes.roles}
    means = {}
    for model, role in enumerate(outcomes.roles):
        tokens = tokens_of(outcomes, model)
        calls = tokens.size // 2 // len(outcomes)  # samples of a text
        means[role] = _PER * calls * float(outcomes.call_costs[:, model].sum()) / max(float(tokens.sum()), 1.0)
    return {role: (mean, mean) for role, mean in means.items()}


def _cost(outcomes: Outcomes, role: str, names: list[str], given: Mapping[str, CallPrice]) -> tuple[Array | None, str]:
    """USD of each call and where that is from."""
    model = outcomes.roles.index(role)
    known = outcomes.replies is not None and outcomes.replies.tokens is not None
    counted = "recorded tokens" if known else "estimated tokens"
    tokens = tokens_of(outcomes, model)
    tokens = tokens if tokens.ndim == 2 else tokens.mean(1)
    for name in names:
        if name in given:
            price = given[name]
            return price.of(tokens), "given" if price.tokens is None else f"given price, {counted}"
    if outcomes.costs is not None and not np.isnan(outcomes.costs[:, model]).any():
        return outcomes.costs[:, model], outcomes.cost_from or "recorded"
    public = next(filter(None, map(partial(Prices().of, role), names[1:])), None)
    if public is None:
        return None, ""
    return CallPrice(tokens=public).of(tokens), f"public price, {counted}"


def _names(role: str, model: str) -> list[str]:
    """What a model may be called: its role, its column, and that without its ending."""
    return list(dict.fromkeys([role, model, re.sub(r"_(correct|score)$", "", model)]))
