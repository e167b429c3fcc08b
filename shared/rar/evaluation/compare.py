"""What a replay showed, beside what simple routers would have done with the same questions. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from rar.evaluation import metrics
from rar.evaluation.comparing import Comparing
from rar.evaluation.metrics import Calibration, Interval, bootstrap
from rar.evaluation.points import Guides, Window, complement, floor_kept, points_of
from rar.evaluation.rivals import Rival, cost_of, on_grid, rivals_of, sent_at
from rar.evaluation.runs import OURS, Online, OwnRows, Run, Split, Stages, Static
from rar.linear import Array
from rar.outcomes import Outcomes, exchanged
from rar.values import STRONG

PAPER = 'policy="paper"'


@dataclass(frozen=True)
class Facts:
    """What was replayed."""

    name: str
    questions: int
    weak_id: str
    strong_id: str
    weak_mean: float
    strong_mean: float
    weak_good_enough: float  # share of questions on which the weak score is at least the strong one
    oracle_mean: float
    weak_cost: float  # of a call, on average, in `cost_unit`
    strong_cost: float
    cost_unit: str
    cost_from: str  # in words
    warnings: tuple[str, ...]  # of models that seem to be exchanged

    @classmethod
    def of(cls, table: Outcomes) -> Facts:
        best = metrics.oracle(table.weak, table.strong).mean()
        enough = (table.weak >= table.strong).mean()
        means = [float(mean) for mean in (table.weak.mean(), table.strong.mean(), enough, best)]
        costs = [float(table.call_costs[:, model].mean()) for model in (0, -1)]
        unit = "USD" if table.in_usd else "strong calls"
        came = table.cost_from or ("recorded" if table.in_usd else "no price is known")
        warnings = [warning for warning in (exchanged(table), _dearer(*costs)) if warning is not None]
        return cls(
            table.name, len(table), table.weak_id, table.strong_id, means[0], means[1], means[2], means[3],
            costs[0], costs[1], unit, came, tuple(warnings),
        )  # fmt: skip


def _dearer(weak: float, strong: float) -> str | None:
    if weak <= strong:
        return None
    return f"A call of the weak model costs more ({weak:.3g}) than one of the strong model ({strong:.3g})."


# --- online ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OnlineSummary:
    """What `online` showed. Qualities are shares of the strong model's; intervals are over questions."""

    facts: Facts
    floor: float
    realised: Interval
    saved: Interval
    net_cost: Interval  # share of always-strong's, all calls of both models paid
    net_saved: Interval  # one less that
    spent: float  # in the unit of `facts`, mean of the shuffles
    always_strong: float
    realised_by_shuffle: tuple[float, ...]
    second_half_by_shuffle: tuple[float, ...]
    saved_by_shuffle: tuple[float, ...]
    worst_half: Interval  # realised quality of the worst second half
    worst_window: Window
    floor_kept: bool  # in every shuffle's second half, within `KEPT_WITHIN`, and in every window, within chance
    calls: Mapping[str, float]  # a question, by role and purpose
    reasons: Mapping[str, float]
    pgr: float
    perf_gain: float
    cost_save: float
    gap_to_oracle: float
    aiq: float
    ece: float
    rivals: tuple[Rival, ...]
    own_rows: OwnRows | None  # of the static router that it started from
    guides: Guides | None  # where they were replayed
    comparing: Comparing | None  # where answers were recorded
    calibration: Calibration = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        return jsonable(asdict(self))


def summarise_online(
    result: Online,
    paper: Online | None = None,
    *,
    others: Mapping[str, Online] | None = None,
    unguided: Online | None = None,
    comparing: Comparing | None = None,
    samples: int = 1_000,
) -> OnlineSummary:
    """Compare what `online` found with the baselines.

    Args:
        result: Ours.
        paper: The same with `policy="paper"`, if it was run.
        others: Further runs of the same questions, by the name under which they are printed.
        unguided: The same without guides, where `result` is with them.
        comparing: The same with a judge that compares the recorded answers.
        samples: Resamples of each interval.
    """
    table, runs = result.table, result.runs
    strong = table.strong
    costs = result.mean_of([run.costs for run in runs])
    realised, saved, cost = points_of(result, samples)
    ours = result.scores
    known = _calibration(runs)
    window = Window.worst(result)
    purposes, reasons = _counts(runs)
    return OnlineSummary(
        facts=Facts.of(table),
        floor=result.quality,
        realised=realised,
        saved=saved,
        net_cost=cost,
        net_saved=complement(cost),
        spent=float(costs.sum()),
        always_strong=float(table.call_costs[:, -1].sum()),
        realised_by_shuffle=tuple(result.realised.tolist()),
        second_half_by_shuffle=tuple(result.second_half.tolist()),
        saved_by_shuffle=tuple(result.saved.tolist()),
        worst_half=_worst_half(result),
        worst_window=window,
        floor_kept=floor_kept(result, window),
        calls=purposes,
        reasons=reasons,
        pgr=float(metrics.pgr(ours.mean(), table.weak.mean(), strong.mean())),
        perf_gain=metrics.perf_gain(float(ours.mean()), float(strong.mean())),
        cost_save=1.0 - cost.value,
        gap_to_oracle=metrics.gap_to_oracle(ours, table.weak, strong),
        aiq=_aiq_of_point(table, float(result.strong_calls.mean()), float(ours.mean())),
        ece=known.ece,
        rivals=tuple(rivals_of(result, {**({} if paper is None else {PAPER: paper}), **(others or {})}, samples)),
        own_rows=result.own_rows,
        guides=None if unguided is None else Guides.of(result, unguided, samples),
        comparing=comparing,
        calibration=known,
    )


def _worst_half(result: Online) -> Interval:
    run = result.runs[int(result.second_half.argmin())]
    half = slice(len(run.table) // 2, None)
    band = metrics.over_time(run.scores[half], run.table.strong[half])
    return Interval(float(band.value[-1]), float(band.low[-1]), float(band.high[-1]))


def _counts(runs: Sequence[Run]) -> tuple[dict[str, float], dict[str, float]]:
    """Calls a question, by role and purpose, and the share of decisions, by reason."""
    n = sum(len(run.table) for run in runs)
    purposes: Counter[str] = Counter()
    for run in runs:
        purposes.update({f"{role} {purpose}": int(c.sum()) for (role, purpose), c in run.calls.items()})
    reasons = Counter(reason for run in runs for reason in run.reasons)
    by_purpose = {name: count / n for name, count in sorted(purposes.items())}
    return by_purpose, {name: count / n for name, count in reasons.most_common()}


def _calibration(runs: Sequence[Run]) -> Calibration:
    good = [np.where(run.with_guide, run.good, run.table.weak >= run.table.strong) for run in runs]
    return metrics.calibration(
        np.concatenate([run.confidence for run in runs]), np.concatenate(good).astype(np.float64)
    )


@dataclass(frozen=True)
class FloorsSummary:
    """What `online` showed at several floors, on the same questions."""

    floors: tuple[OnlineSummary, ...]

    @property
    def facts(self) -> Facts:
        return self.floors[0].facts

    def as_dict(self) -> dict[str, Any]:
        return {"floors": [summary.as_dict() for summary in self.floors]}


def _aiq_of_point(table: Outcomes, share: float, mean: float) -> float:
    """AIQ of a router that is one point, with the single models beside it, over strong shares from 0 to 1."""
    return metrics.aiq(np.array([0.0, share, 1.0]), np.array([table.weak.mean(), mean, table.strong.mean()]), 0.0, 1.0)


# --- static ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """One scorer on questions that it had not seen: means over the splits, intervals over questions.

    Args:
        ahead: Our APGR less its.
        cpt50: Share of strong calls that recovers half of the gap; `cpt80`: four fifths.
        to_keep: Share of strong calls that keeps each of the floors.
        net_saved: Share of always-strong's cost that is saved with these, for each of the floors.
        curve: Quality at the shares of `GRID`.
    """

    name: str
    apgr: Interval
    cpt50: float
    cpt80: float
    to_keep: tuple[float, ...]
    net_saved: tuple[float, ...]
    aiq: float
    curve: tuple[float, ...] = field(repr=False)
    ahead: Interval | None = None


@dataclass(frozen=True)
class StaticSummary:
    """What `static` showed."""

    facts: Facts
    floors: tuple[float, ...]
    halves: tuple[Scored, ...]
    left_out: tuple[Scored, ...]
    own_rows: tuple[OwnRows, ...]  # of the saved routers among the scorers

    def as_dict(self) -> dict[str, Any]:
        return jsonable(asdict(self))


def summarise_static(result: Static, *, floors: Sequence[float] = (), samples: int = 500) -> StaticSummary:
    """Compare the scorers of `static`, with the bounds beside them.

    Args:
        result: What was found.
        floors: Shares of the strong model's quality whose calls are asked for; none: that of `result`.
        samples: Resamples of each interval.
    """
    asked = tuple(floors) or (result.quality,)
    left_out = () if result.left_out is None else _scored(result, [result.left_out], asked, samples)
    halves = _scored(result, result.halves, asked, samples)
    return StaticSummary(Facts.of(result.table), asked, halves, left_out, result.own_rows)


def _with_bounds(table: Outcomes, split: Split) -> dict[str, Array]:
    """The scores of a split, with those of chance, of an ideal static router and of the oracle."""
    gap = table.gap[split.rows]
    bounds = {"ideal static router": (gap > 0.0).astype(float), "oracle": gap}
    return {**split.scores, "random mix": np.zeros(len(gap)), **bounds}


def _scored(result: Static, splits: Sequence[Split], floors: Sequence[float], samples: int) -> tuple[Scored, ...]:
    table = result.table
    scores = [_with_bounds(table, split) for split in splits]
    parts = [(part, table.take(split.rows)) for part, split in zip(scores, splits, strict=True)]

    def area(name: str) -> Callable[[Array], Array]:
        def statistic(weights: Array) -> Array:
            areas = [
                metrics.apgr(part[name], table.weak[split.rows], table.strong[split.rows], weights[..., split.rows])
                for part, split in zip(scores, splits, strict=True)
            ]
            mean: Array = np.mean(areas, axis=0)
            return mean

        return statistic

    def mean(measure: Callable[..., float], name: str) -> float:
        return float(np.mean([measure(part[name], asked.weak, asked.strong) for part, asked in parts]))

    rows = []
    for name in scores[0]:
        ahead = None
        if name != OURS and OURS in scores[0]:
            ahead = bootstrap(_difference(area(OURS), area(name)), len(table), samples=samples)
        rows.append(
            Scored(
                name,
                bootstrap(area(name), len(table), samples=samples),
                mean(lambda s, weak, strong: metrics.cpt(s, weak, strong, 0.5), name),
                mean(lambda s, weak, strong: metrics.cpt(s, weak, strong, 0.8), name),
                tuple(mean(partial(metrics.calls_to_keep, share=floor), name) for floor in floors),
                tuple(
                    float(np.mean([_net_saved(part[name], asked, floor) for part, asked in parts])) for floor in floors
                ),
                mean(_aiq_of_score, name),
                tuple(np.mean([on_grid(part[name], asked) for part, asked in parts], 0).tolist()),
                ahead,
            )
        )
    return tuple(rows)


def _net_saved(score: Array, asked: Outcomes, floor: float) -> float:
    """Of a router that only serves, with the strong calls that keep the floor; NaN where none do."""
    share = metrics.calls_to_keep(score, asked.weak, asked.strong, floor)
    if np.isnan(share):
        return share
    return 1.0 - float(cost_of(asked, sent_at(score, share)).sum() / asked.call_costs[:, -1].sum())


def _difference(ours: Callable[[Array], Array], theirs: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda weights: ours(weights) - theirs(weights)


def _aiq_of_score(score: Array, weak: Array, strong: Array) -> float:
    found = metrics.curve(score, weak, strong)
    return metrics.aiq(found.share, found.quality, 0.0, 1.0)


# --- stages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """One stage: means over the shuffles, and the worst one. Quality and agreement are relative to the strong model.

    Args:
        repeats: Whether all of its questions were seen before; in the first stage none was.
        random_mix: Quality of a random mix with as many strong answers.
    """

    stage: int
    repeats: bool
    served_strong: float
    served_strong_worst: float
    strong_calls: float
    net_saved: float
    quality: float
    agreement: Interval
    agreement_worst: float
    random_mix: float


@dataclass(frozen=True)
class StagesSummary:
    """What `stages` showed; `paper` is the same with the published rule."""

    facts: Facts
    floor: float
    ours: tuple[Stage, ...]
    paper: tuple[Stage, ...]

    def as_dict(self) -> dict[str, Any]:
        return jsonable(asdict(self))


def summarise_stages(result: Stages, paper: Stages | None = None, *, samples: int = 1_000) -> StagesSummary:
    """Sum `stages` up by stage.

    Args:
        result: Ours.
        paper: The same with `policy="paper"`, if it was run.
        samples: Resamples of each interval.
    """
    theirs = () if paper is None else _by_stage(paper, samples)
    return StagesSummary(Facts.of(result.table), result.quality, _by_stage(result, samples), theirs)


def _by_stage(result: Stages, samples: int) -> tuple[Stage, ...]:
    return tuple(_stage(result.table, at, runs, samples) for at, runs in enumerate(zip(*result.runs, strict=True)))


def _stage(table: Outcomes, at: int, runs: Sequence[Run], samples: int) -> Stage:
    agreement = np.zeros(len(table))
    for run in runs:
        agreement[run.rows] += run.good / len(runs)
    share = float(np.mean([run.served_strong() for run in runs]))
    return Stage(
        at + 1,
        at > 0,
        share,
        max(run.served_strong() for run in runs),
        float(np.mean([run.of(STRONG).mean() for run in runs])),
        float(np.mean([run.net_saved() for run in runs])),
        float(np.mean([run.realised() for run in runs])),
        bootstrap(metrics.ratio(agreement, np.ones(len(table))), len(table), samples=samples),
        min(float(run.good.mean()) for run in runs),
        float((table.weak + share * table.gap).sum() / table.strong.sum()),
    )


def jsonable(facts: Mapping[str, Any]) -> dict[str, Any]:
    """`facts` with arrays as lists, and None for what is not finite: JSON knows no NaN."""
    return {key: _plain(value) for key, value in facts.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return jsonable(value)
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(entry) for entry in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
