"""The same replay with a judge that only compares the recorded answers, as one does that has no truth to grade by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from rar.drive import drive
from rar.embedding import as_embedder
from rar.evaluation.metrics import Interval
from rar.evaluation.points import Window, complement, floor_kept, points_of
from rar.evaluation.recorded import recorded_models
from rar.evaluation.runs import Online
from rar.learning.judges import AutoJudge, Judge
from rar.outcomes import Outcomes
from rar.values import STRONG, WEAK, Call, question


@dataclass(frozen=True)
class Comparing:
    """What a judge that only compares makes of the answers, and of the floor.

    Args:
        agrees, refuses, undecided: Shares of the questions, of which the last leaves the judge without a word.
        good_enough: Share on which the weak score is at least the strong one.
        realised, saved, net_saved, worst_window, floor_kept: With this judge; else as in `OnlineSummary`.
    """

    agrees: float
    refuses: float
    undecided: float
    good_enough: float
    realised: Interval
    saved: Interval
    net_saved: Interval
    worst_window: Window
    floor_kept: bool

    @classmethod
    def of(cls, result: Online, judge: Judge, samples: int = 1_000) -> Comparing:
        """Sum up a replay with `judge`."""
        table, said = result.table, verdicts(result.table, judge)
        realised, saved, cost = points_of(result, samples)
        window = Window.worst(result)
        n = len(table)
        return cls(
            said[True] / n, said[False] / n, said[None] / n, float((table.weak >= table.strong).mean()),
            realised, saved, complement(cost), window, floor_kept(result, window),
        )  # fmt: skip


def has_answers(table: Outcomes) -> bool:
    """Whether answers were recorded, which can be compared."""
    return table.replies is not None and table.replies.texts is not None


def comparing_judge(embedder: Any) -> Judge:
    """The router's own judge, with an embedder for answers of free text."""
    return AutoJudge(as_embedder(embedder))


def verdicts(table: Outcomes, judge: Judge) -> Counter[bool | None]:
    """How often a judge that asks no model agrees, refuses and cannot tell, of the first model and the last."""
    models = recorded_models(table)
    said: Counter[bool | None] = Counter()
    for row, text in enumerate(table.texts):
        request = question(text, options={"row": row})
        weak, strong = (models[role].call(Call(role, request)) for role in (WEAK, STRONG))
        said[drive(judge.steps(request, strong, weak), {}).agrees] += 1
    return said
