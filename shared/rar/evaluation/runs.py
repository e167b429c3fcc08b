"""What replays found: each question of each stream, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from rar.linear import Array
from rar.outcomes import Outcomes
from rar.routers import LearnedRouter
from rar.values import STRONG
from rar.words import AUDIT

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]
Counts: TypeAlias = npt.NDArray[np.int64]
Rows: TypeAlias = npt.NDArray[np.intp]
Guidance: TypeAlias = Literal["none", "own", "other"]  # by no guide, one of the question's group, of another group

OURS = "RAR"


@dataclass(frozen=True)
class Run:
    """What happened to each question of a stream, in the order in which they came. All arrays have shape `(n,)`.

    Args:
        table: The questions in that order, with the outcomes of all models.
        rows: Their places in the table that was given.
        served: Role of the model whose answer was served.
        calls: How often a role was called for a purpose, for example `calls["strong", "audit"]`.
        confidence: What the router held the chance to be that the weak model is good enough; NaN where it held none.
        reasons: Why it decided so.
        guided: The `Guidance` of each answer that was served; None: no guide was used.
    """

    table: Outcomes
    rows: Rows = field(repr=False)
    served: npt.NDArray[np.str_] = field(repr=False)
    calls: Mapping[tuple[str, str], Counts] = field(repr=False)
    confidence: Array = field(repr=False)
    reasons: tuple[str, ...] = field(repr=False)
    guided: npt.NDArray[np.str_] | None = field(default=None, repr=False)

    @property
    def strong(self) -> npt.NDArray[np.bool_]:
        """Whether the strong model's answer was served."""
        strong: npt.NDArray[np.bool_] = self.served == STRONG
        return strong

    @property
    def scores(self) -> Array:
        """The scores of what was served."""
        columns = [self.table.roles.index(role) for role in self.served.tolist()]
        scores: Array = self.table.scores[np.arange(len(self.table)), columns]
        for row in np.flatnonzero(self.with_guide).tolist():
            scores[row] = guided_score(self.table, row, columns[row], str(self.guidance[row]))
        return scores

    @property
    def guidance(self) -> npt.NDArray[np.str_]:
        """The `Guidance` of each answer that was served."""
        return np.full(len(self.table), "none") if self.guided is None else self.guided

    @property
    def with_guide(self) -> npt.NDArray[np.bool_]:
        """Whether an answer was served that a guide had changed."""
        guided: npt.NDArray[np.bool_] = self.guidance != "none"
        return guided

    @property
    def guides_written(self) -> int:
        """Guides that the strong model was asked to write."""
        return int(np.sum(self.calls.get((STRONG, "guide"), 0)))

    @property
    def good(self) -> npt.NDArray[np.bool_]:
        """Whether what was served was as good as the strong model's answer."""
        good: npt.NDArray[np.bool_] = self.strong | (self.scores >= self.table.strong)
        return good

    @property
    def audited(self) -> npt.NDArray[np.bool_]:
        """Which questions were audited, before they were served or after."""
        before = np.array([reason == AUDIT for reason in self.reasons])
        after = self.calls.get((STRONG, "audit"))
        return before if after is None else before | (after > 0)

    def of(self, role: str) -> Counts:
        """Calls of a role, whatever they were for."""
        return sum((c for (name, _), c in self.calls.items() if name == role), np.zeros(len(self.table), np.int64))

    @property
    def costs(self) -> Array:
        """What each question cost with what was learned from it: all calls of all models, as `Outcomes.call_costs`."""
        calls = np.stack([self.of(role) for role in self.table.roles], 1)
        total: Array = (calls * self.table.call_costs).sum(1)
        return total

    @property
    def always_strong_costs(self) -> Array:
        """What each question would have cost without a router."""
        return self.table.call_costs[:, -1]

    def realised(self, rows: slice = slice(None)) -> float:
        """Served scores over the strong model's, of `rows` of the stream."""
        return float(self.scores[rows].sum() / self.table.strong[rows].sum())

    def saved(self, rows: slice = slice(None)) -> float:
        """Share of strong calls saved: serving, shadow, guide, judge and audit calls count; below 0 if it cost more."""
        return 1.0 - float(self.of(STRONG)[rows].mean())

    def cost_ratio(self, rows: slice = slice(None)) -> float:
        """Cost of all calls, learning paid, over what always asking the strong model would have cost."""
        return float(self.costs[rows].sum()) / max(float(self.always_strong_costs[rows].sum()), 1e-300)

    def net_saved(self, rows: slice = slice(None)) -> float:
        """Share of always-strong's cost that is saved, learning and weak calls paid; below 0 if it cost more."""
        return 1.0 - self.cost_ratio(rows)

    def shares(self, rows: slice = slice(None)) -> dict[str, float]:
        """Share of questions that each model's answer was served to, by role."""
        return {role: float((self.served[rows] == role).mean()) for role in self.table.roles}

    def call_shares(self, rows: slice = slice(None)) -> dict[str, float]:
        """Calls of each model a question, whatever they were for, by role."""
        return {role: float(self.of(role)[rows].mean()) for role in self.table.roles}

    def served_strong(self, rows: slice = slice(None)) -> float:
        """Share of questions that the strong model's answer was served to."""
        return float(self.strong[rows].mean())

    def part(self, rows: slice) -> Run:
        """Some of the stream's questions."""
        places = np.arange(len(self.table))[rows]
        calls = {name: counts[places] for name, counts in self.calls.items()}
        reasons = tuple(self.reasons[place] for place in places)
        kept = (self.rows[places], self.served[places], calls, self.confidence[places], reasons)
        guided = None if self.guided is None else self.guided[places]
        return Run(self.table.take(places), *kept, guided)

    # --- on disk ---

    def arrays(self) -> Arrays:
        """The run without its table."""
        counts = {f"{role} {purpose}": found for (role, purpose), found in self.calls.items()}
        facts = {"rows": self.rows, "served": self.served, "confidence": self.confidence}
        return {**facts, "reasons": np.array(self.reasons, np.str_), "guided": self.guidance, **counts}

    @classmethod
    def of_arrays(cls, table: Outcomes, arrays: Arrays) -> Run:
        """The run of which `arrays` came, on the same table."""
        named = ("rows", "served", "confidence", "reasons", "guided")
        calls = {(*name.split(" "),): counts for name, counts in arrays.items() if name not in named}
        rows, served, confidence, reasons, guided = (arrays[name] for name in named)
        found = (table.take(rows), rows, served, calls, confidence, tuple(reasons.tolist()), guided)
        return cls(*found)  # type: ignore[arg-type]


def guided_score(outcomes: Outcomes, row: int, model: int, guidance: str) -> float:
    """What a model scored by a guide, if that was recorded: another group's guide makes it wrong."""
    assert outcomes.guided is not None  # else no answer is guided
    return float(outcomes.guided.scores[row, model]) if guidance == "own" else 0.0


@dataclass(frozen=True)
class OwnRows:
    """Which share of the questions a router was fitted to before; None: it does not know what it was fitted to."""

    router: str
    share: float | None


def own_rows_of(name: str, router: object, table: Outcomes) -> OwnRows | None:
    """What a router says of `table`; None of one that learns nothing from outcomes."""
    return OwnRows(name, router.saw(table.texts)) if isinstance(router, LearnedRouter) else None


@dataclass(frozen=True)
class Online:
    """Runs over several shuffles of the same outcomes, each from a cold start or with a static router."""

    table: Outcomes
    quality: float
    runs: tuple[Run, ...]
    own_rows: OwnRows | None = None  # of the static router

    @property
    def realised(self) -> Array:
        """Realised quality of each run."""
        return np.array([run.realised() for run in self.runs])

    @property
    def second_half(self) -> Array:
        """Realised quality of each run's second half."""
        return np.array([run.realised(slice(len(run.table) // 2, None)) for run in self.runs])

    @property
    def saved(self) -> Array:
        """Share of strong calls saved by each run."""
        return np.array([run.saved() for run in self.runs])

    @property
    def cost_ratios(self) -> Array:
        """Cost of each run, learning paid, over that of always asking the strong model."""
        return np.array([run.cost_ratio() for run in self.runs])

    @property
    def shares(self) -> dict[str, float]:
        """Share of questions that each model's answer was served to, over the runs, by role."""
        return {role: float(np.mean([run.shares()[role] for run in self.runs])) for role in self.table.roles}

    @property
    def scores(self) -> Array:
        """Mean served score of each question of `table` over the runs."""
        return self.mean_of([run.scores for run in self.runs])

    @property
    def strong_calls(self) -> Array:
        """Mean number of strong calls that each question of `table` cost over the runs."""
        return self.mean_of([run.of(STRONG) for run in self.runs])

    def mean_of(self, values: Sequence[npt.NDArray[Any]]) -> Array:
        """Mean over the runs, for each question of `table`, of values given along each run."""
        sums = np.zeros(len(self.table))
        for run, value in zip(self.runs, values, strict=True):
            sums[run.rows] += value
        return sums / len(self.runs)


@dataclass(frozen=True)
class Stages:
    """Runs of the RAR protocol (arXiv 2411.09837): `runs[shuffle][stage]`; from the second stage on all are repeats."""

    table: Outcomes
    quality: float
    runs: tuple[tuple[Run, ...], ...]


@dataclass(frozen=True)
class Split:
    """Scores of the questions at `rows` of a table, by name of the scorer; each has shape `(len(rows),)`."""

    rows: Rows
    scores: Mapping[str, Array]

    def arrays(self) -> Arrays:
        return {"": self.rows, **self.scores}

    @classmethod
    def of_arrays(cls, arrays: Arrays) -> Split:
        return cls(arrays[""], {name: scores for name, scores in arrays.items() if name})


@dataclass(frozen=True)
class Static:
    """What scorers made of questions that they had not seen.

    Args:
        halves: One split for each random halving; the other half was seen.
        left_out: One split of all questions, scored by what had seen no question of their group; None without groups.
            Scores are ranks from 0 to 1 within each part of the groups, for those of two fits do not compare.
    """

    table: Outcomes
    quality: float
    halves: tuple[Split, ...]
    left_out: Split | None
    own_rows: tuple[OwnRows, ...] = ()  # of the saved routers among the scorers
