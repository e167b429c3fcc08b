"""What other routers would have done with the questions of a replay. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rar.evaluation import metrics
from rar.evaluation.baselines import baselines
from rar.evaluation.metrics import Interval, bootstrap
from rar.evaluation.runs import Online
from rar.linear import Array
from rar.outcomes import Outcomes
from rar.values import STRONG

GRID = np.linspace(0.0, 1.0, 101)  # shares of strong calls at which curves are kept


@dataclass(frozen=True)
class Rival:
    """Another router on the same questions.

    Args:
        strong_calls: Strong calls a question; for a score or a mix, as many as ours made, learning included.
        quality: Its share of the strong model's quality with that many.
        net_saved: Share of always-strong's cost that it saves, weak calls paid.
        ahead: Our quality less its at our strong calls (a single router is mixed at random with a single model to get
            there); None where that is not asked.
        saved: Strong calls that it saves at our realised quality.
        hindsight: It was allowed the best threshold, and saw all outcomes of the past free of charge.
        curve: Quality at the shares of `GRID`, of a score.
    """

    name: str
    strong_calls: float
    quality: float
    pgr: float
    gap_to_oracle: float
    net_saved: float
    ahead: Interval | None = None
    saved: float | None = None
    hindsight: bool = False
    curve: tuple[float, ...] | None = field(default=None, repr=False)


def rivals_of(result: Online, others: Mapping[str, Online], samples: int) -> list[Rival]:
    """Single models, a random mix, other runs of the same questions, baselines and bounds, beside `result`.

    Args:
        others: Other runs, by the name under which they are printed.
        samples: Resamples of each interval.
    """
    table = result.table
    made = _Rivals(result, samples)
    single = zip(table.roles, table.scores.T, table.call_costs.T, strict=True)
    found = [made.alone(f"{role} only", float(role == STRONG), scores, costs) for role, scores, costs in single]
    found.append(made.mix("random mix"))
    for name, other in others.items():
        costs = other.mean_of([run.costs for run in other.runs])
        found.append(made.point(name, float(other.strong_calls.mean()), other.scores, costs))
    found += [made.ranked(base.name, [base.prequential(run.table) for run in result.runs]) for base in baselines(table)]
    needs = (table.gap > 0.0).astype(np.float64)
    ideal = np.where(needs > 0.0, table.strong, table.weak)
    found.append(made.point("ideal static router", float(needs.mean()), ideal, cost_of(table, needs)))
    found.append(made.ranked("oracle", [run.table.gap for run in result.runs]))
    return found


@dataclass(frozen=True)
class _Rivals:
    """Makes the rivals of a result."""

    result: Online
    samples: int

    @property
    def share(self) -> float:
        """Our strong calls a question, as far as a router that only serves can make them."""
        return min(float(self.result.strong_calls.mean()), 1.0)

    def alone(self, name: str, calls: float, scores: Array, costs: Array, **more: Any) -> Rival:
        """One that is not compared at our strong calls, unless `more` does."""
        table = self.result.table
        mean = float(scores.mean())
        recovered = float(metrics.pgr(mean, table.weak.mean(), table.strong.mean()))
        gap = metrics.gap_to_oracle(scores, table.weak, table.strong)
        saved = 1.0 - float(costs.sum() / table.call_costs[:, -1].sum())
        return Rival(name, calls, mean / float(table.strong.mean()), recovered, gap, saved, **more)

    def mix(self, name: str) -> Rival:
        """Our number of strong calls, at random."""
        table = self.result.table
        sent = np.full(len(table), self.share)
        scores = table.weak + sent * table.gap
        more = {"ahead": self._ahead(scores), "saved": self._saved(())}
        return self.alone(name, self.share, scores, cost_of(table, sent), **more)

    def point(self, name: str, calls: float, scores: Array, costs: Array) -> Rival:
        """A router of one number of strong calls, mixed with a single model to make ours."""
        mixed = _mixed(self.result.table, calls, scores, self.share)
        saved = self._saved([(calls, float(scores.mean()))])
        return self.alone(name, calls, scores, costs, ahead=self._ahead(mixed), saved=saved)

    def ranked(self, name: str, by_run: Sequence[Array]) -> Rival:
        """A score of each run's questions, with the threshold that makes our strong calls."""
        result, table = self.result, self.result.table
        sent = result.mean_of([sent_at(score, self.share) for score in by_run])
        scores = table.weak + sent * table.gap
        pairs = list(zip(by_run, result.runs, strict=True))
        needed = [
            metrics.calls_for(metrics.curve(score, run.table.weak, run.table.strong), float(run.scores.mean()))
            for score, run in pairs
        ]
        kept = tuple(np.mean([on_grid(score, run.table) for score, run in pairs], 0).tolist())
        more = {"ahead": self._ahead(scores), "saved": 1.0 - float(np.mean(needed)), "hindsight": True, "curve": kept}
        return self.alone(name, self.share, scores, cost_of(table, sent), **more)

    def _ahead(self, scores: Array) -> Interval:
        ours, table = self.result.scores, self.result.table
        return bootstrap(metrics.ratio(ours - scores, table.strong), len(table), samples=self.samples)

    def _saved(self, points: Sequence[tuple[float, float]]) -> float:
        """Strong calls saved at our quality, on the line through the weak model, the points and the strong one."""
        table = self.result.table
        line = np.array([(0.0, table.weak.mean()), *points, (1.0, table.strong.mean())])
        return 1.0 - metrics.calls_for(metrics.Curve(line[:, 0], line[:, 1]), float(self.result.scores.mean()))


def cost_of(table: Outcomes, sent: Array) -> Array:
    """What each question costs a router that sends it to the strong model with that chance, and else to the weak."""
    cost: Array = sent * table.call_costs[:, -1] + (1.0 - sent) * table.call_costs[:, 0]
    return cost


def sent_at(score: Array, share: float) -> Array:
    """The chance of each question to go to the strong model when the `share` of highest scores does, ties at random."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ends = np.r_[starts[1:], len(score)]
    chance = np.clip((share * len(score) - starts) / (ends - starts), 0.0, 1.0)
    sent = np.empty(len(score))
    sent[order] = np.repeat(chance, ends - starts)
    return sent


def on_grid(score: Array, table: Outcomes) -> Array:
    """The score's curve at the shares of `GRID`, relative to the strong model."""
    found = metrics.curve(score, table.weak, table.strong)
    kept: Array = np.interp(GRID, found.share, found.quality) / table.strong.mean()
    return kept


def _mixed(table: Outcomes, calls: float, scores: Array, share: float) -> Array:
    """A router mixed at random with a single model until it makes `share` strong calls."""
    other, end = (table.strong, 1.0) if share > calls else (table.weak, 0.0)
    part = (share - calls) / (end - calls) if end != calls else 0.0
    mixed: Array = scores + part * (other - scores)
    return mixed
