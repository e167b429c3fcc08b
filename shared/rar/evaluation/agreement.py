"""How far a judge may be trusted: against people's verdicts, against itself in the other order, and against length."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from rar.drive import drive
from rar.errors import ConfigurationError
from rar.estimates import Interval, bootstrap
from rar.learning.grading import Better, Preference, both
from rar.linear import Array
from rar.naming import shown
from rar.values import Reply, question

logger = logging.getLogger("rar")
Verdicts: TypeAlias = tuple["Better | None", "Better | None"]  # in both orders, both about the first answer as `first`
Says: TypeAlias = Callable[[str, str, str], "Better | None"]
_BIASED = 0.1  # from which a share that is off its mark is warned of
_INCONSISTENT = 0.5


@dataclass(frozen=True)
class Labelled:
    """Two answers to a question, which one people preferred, and which models gave them, if that is known."""

    question: str
    one: str
    other: str
    better: Better
    one_by: str = ""
    other_by: str = ""


@dataclass(frozen=True)
class Agreement:
    """What a judge's verdicts are worth. Shares are of pairs that were told in both orders.

    Args:
        accuracy: Mean of both orders: how often the verdict is people's.
        consistency: How often both orders give the same verdict.
        accuracy_where_consistent: Of those, how often it is people's; NaN where there are none.
        first_place: The share of verdicts that name the answer shown first, ties counting a half. Without bias it is
            one half.
        longer: The share of verdicts that name the longer answer, less that of people's; NaN where no lengths differ.
        kappa: Cohen's, between people and the verdict of both orders together.
        unparsed: The share of pairs of which a judgment held no verdict.
        warnings: What to look at, in sentences.
    """

    pairs: int
    accuracy: Interval
    consistency: Interval
    accuracy_where_consistent: float
    first_place: float
    longer: float
    kappa: float
    unparsed: float
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        intervals = {"accuracy": self.accuracy.as_dict(), "consistency": self.consistency.as_dict()}
        return {**vars(self), **intervals, "warnings": list(self.warnings)}


def agreement(
    judge: Preference | Says, labelled: Sequence[Labelled], models: Mapping[str, Any] | None = None
) -> Agreement:
    """Ask a judge about each pair in both orders, and hold its verdicts against the labels.

    Args:
        judge: A `Preference`, which asks a model of `models`; or a function of a question and two answers that says
            which is better, and is asked in both orders too.
        models: By name, as a router is given them (`rar.FunctionModel` makes one of a function).

    Raises:
        ConfigurationError: There are no pairs, or a `Preference` has no models to ask.
    """
    if isinstance(judge, Preference):
        if models is None or judge.model not in models:
            raise ConfigurationError(f"{shown(judge)} asks a model. Pass it: models={{{judge.model!r}: ...}}.")
        verdicts = [
            drive(judge.verdicts(question(pair.question), Reply("", pair.one), Reply("", pair.other)), models)
            for pair in labelled
        ]
        return agreement_of(verdicts, labelled, judged_by=(judge.model, models[judge.model].id))
    return agreement_of([_in_both_orders(judge, pair) for pair in labelled], labelled)


def agreement_of(
    verdicts: Sequence[Verdicts], labelled: Sequence[Labelled], judged_by: Sequence[str] = ()
) -> Agreement:
    """`agreement` of verdicts that there are already.

    Args:
        judged_by: Names of the judge, to warn where it judges answers of its own.
    """
    if not labelled or len(verdicts) != len(labelled):
        raise ConfigurationError(f"There are {len(verdicts)} verdicts on {len(labelled)} pairs. Pass one for each.")
    told = [(v, pair) for v, pair in zip(verdicts, labelled, strict=True) if v[0] is not None and v[1] is not None]
    own = sum(bool({pair.one_by, pair.other_by} & set(judged_by) - {""}) for pair in labelled)
    unparsed = 1.0 - len(told) / len(labelled)
    if not told:
        nothing = Interval(float("nan"), float("nan"), float("nan"))
        nan = float("nan")
        return Agreement(0, nothing, nothing, nan, nan, nan, nan, unparsed, ("No judgment held a verdict.",))
    right = np.array([np.mean([v == pair.better for v in both_orders]) for both_orders, pair in told])
    same = np.array([float(here == there) for (here, there), _ in told])
    found = Agreement(
        len(told),
        _mean(right),
        _mean(same),
        float(right[same > 0].mean()) if same.any() else float("nan"),
        float(np.mean([(_first(here) + 1.0 - _first(there)) / 2.0 for (here, there), _ in told])),
        _longer(told),
        _kappa([pair.better for _, pair in told], [both(*verdict) or "tie" for verdict, _ in told]),
        unparsed,
    )
    warnings = tuple(_warnings(found, own, len(labelled)))
    for warning in warnings:
        logger.warning("%s", warning)
    return Agreement(**{**vars(found), "warnings": warnings})


def _in_both_orders(says: Says, pair: Labelled) -> Verdicts:
    swapped: dict[Better | None, Better | None] = {"first": "second", "second": "first", "tie": "tie", None: None}
    return says(pair.question, pair.one, pair.other), swapped[says(pair.question, pair.other, pair.one)]


def _mean(values: Array) -> Interval:
    return bootstrap(lambda weights: weights @ values / weights.sum(-1), len(values))


def _first(verdict: Better | None) -> float:
    """1 where the first answer is named, 0 where the second is, a half of a tie."""
    return {"first": 1.0, "second": 0.0}.get(verdict or "tie", 0.5)


def _longer(told: Sequence[tuple[Verdicts, Labelled]]) -> float:
    """How much more often the judge names the longer answer than people do."""
    gaps = []
    for (here, there), pair in told:
        if len(pair.one) != len(pair.other):
            named = (_first(here) + _first(there)) / 2.0 - _first(pair.better)
            gaps.append(named if len(pair.one) > len(pair.other) else -named)
    return float(np.mean(gaps)) if gaps else float("nan")


def _kappa(labels: Sequence[str], verdicts: Sequence[str]) -> float:
    """Cohen's kappa: agreement above what the two shares of each verdict alone would bring."""
    n, seen, given = len(labels), Counter(labels), Counter(verdicts)
    observed = sum(a == b for a, b in zip(labels, verdicts, strict=True)) / n
    chance = sum(seen[name] * given[name] for name in seen) / n**2
    return (observed - chance) / (1.0 - chance) if chance < 1.0 else float("nan")


def _warnings(found: Agreement, own: int, pairs: int) -> list[str]:
    said = []
    if abs(found.first_place - 0.5) > _BIASED:
        place = "first" if found.first_place > 0.5 else "second"
        said.append(f"The judge favours the answer that is shown {place}: {found.first_place:.0%} name the first.")
    if found.consistency.value < _INCONSISTENT:
        said.append(f"Both orders give the same verdict in only {found.consistency.value:.0%}; the others are ties.")
    if found.longer > _BIASED:
        said.append(f"The judge names the longer answer {100 * found.longer:.0f} points more often than people do.")
    if found.unparsed > _BIASED:
        said.append(f"In {found.unparsed:.0%} of the pairs a judgment held no verdict.")
    if own:
        said.append(f"The judge wrote one of the answers itself in {own} of {pairs} pairs. Models favour their own.")
    return said
