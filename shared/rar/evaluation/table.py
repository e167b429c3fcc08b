"""Recorded outcomes of two models, a weak and a strong one, which baselines, metrics and reports work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from rar.errors import EvaluationDataError
from rar.linear import Array
from rar.outcomes import Outcomes, Replies


@dataclass(frozen=True)
class Table(Outcomes):
    """Outcomes of a weak and a strong model that were both asked every question. Scores are at least 0."""

    def __post_init__(self) -> None:
        if not self.texts:
            raise EvaluationDataError(self.name, "there are no rows")
        super().__post_init__()
        if len(self.models) != 2:
            raise EvaluationDataError(self.name, f"a table has two models, not {list(self.models)}")
        if np.isnan(self.scores).any():
            row = int(np.argwhere(np.isnan(self.scores))[0, 0])
            raise EvaluationDataError(self.name, f"row {row} lacks a score of one of the two models")

    @classmethod
    def of(cls, outcomes: Outcomes) -> Table:
        """The view of outcomes of two models; others have `Outcomes.pair`."""
        return cls(**{column.name: getattr(outcomes, column.name) for column in fields(Outcomes)})

    @classmethod
    def of_scores(
        cls,
        texts: Sequence[str],
        weak: npt.ArrayLike,
        strong: npt.ArrayLike,
        *,
        weak_id: str = "weak",
        strong_id: str = "strong",
        weak_cost: npt.ArrayLike | None = None,
        strong_cost: npt.ArrayLike | None = None,
        answers: tuple[Sequence[str], Sequence[str]] | None = None,
        tokens: Array | None = None,
        **more: Any,
    ) -> Table:
        """A table of one column for each model.

        Args:
            weak, strong: Scores.
            weak_cost, strong_cost: USD of each answer.
            answers: Of the weak and the strong model.
            tokens: As of `Replies`.
            more: Other columns and facts of `Outcomes`.
        """
        name = more.setdefault("name", "table")
        columns = {"weak": weak, "strong": strong, "weak_cost": weak_cost, "strong_cost": strong_cost}
        for column, values in {**columns, **more}.items():
            listed = isinstance(values, (Sequence, np.ndarray)) and not isinstance(values, str)
            if listed and len(values) != len(texts):
                raise EvaluationDataError(name, f"{len(texts)} texts but {len(values)} values", column=column)
        said = None if answers is None else np.array(answers, object).T
        replies = None if said is None and tokens is None else Replies(said, tokens)
        costs = None
        if weak_cost is not None or strong_cost is not None:
            unknown = np.full(len(texts), np.nan)
            costs = np.stack([unknown if cost is None else cost for cost in (weak_cost, strong_cost)], 1)
        scores = np.stack([weak, strong], 1).astype(np.float64)
        return cls(tuple(texts), scores, (weak_id, strong_id), costs=costs, replies=replies, **more)
