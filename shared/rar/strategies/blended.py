"""Blended: each turn of a conversation is answered by a model that is drawn by chance (arXiv 2401.02994)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rar.errors import ConfigurationError
from rar.naming import fields_repr, shown
from rar.options import Number, check_names, named_arguments
from rar.strategy import Steps
from rar.values import Choice, Request, Route


@named_arguments
@dataclass(frozen=True)
class Blended:
    """One of `models`, drawn anew each turn, answers the whole conversation, which all of them share.

    If it fails, another one is drawn. A tool loop stays with its model.

    Args:
        weights: How often each is drawn, in any unit; None: all alike.
    """

    models: Sequence[str]
    weights: Sequence[float] | None = None

    __repr__ = fields_repr

    def __post_init__(self) -> None:
        check_names("models", self.models)
        if len(set(self.models)) < len(self.models) or len(self.models) < 2:
            raise ConfigurationError(f"models={shown(self.models)}: a blend takes two or more, each once.")
        if self.weights is None:
            return
        if not isinstance(self.weights, Sequence) or len(self.weights) != len(self.models):
            raise ConfigurationError(f"weights={shown(self.weights)} is no list of {len(self.models)} numbers.")
        for weight in self.weights:
            Number(above=True)("a weight", weight)

    def steps(self, request: Request) -> Steps[Choice]:
        chance = 0.0 if request.evidence is None else request.evidence.chance
        first, *others = drawn(self.models, self.weights or [1.0] * len(self.models), chance)
        return Route(first, reason="blended", then=tuple(others))
        yield []  # makes this a generator: it needs no call to decide


def drawn(names: Sequence[str], weights: Sequence[float], chance: float) -> list[str]:
    """`names` in an order drawn by `weights` from one number of [0, 1), which serves for all of them.

    Within the part of [0, 1) that draws a name, the number is as even as it was, so that it draws the next one too.
    """
    left, order = list(zip(names, weights, strict=True)), list[str]()
    while left:
        place = chance * sum(weight for _, weight in left)
        at = 0
        while at < len(left) - 1 and place >= left[at][1]:
            place -= left[at][1]
            at += 1
        name, weight = left.pop(at)
        order.append(name)
        chance = min(place / weight, 1.0)
    return order
