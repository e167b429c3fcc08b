"""What routers learn from: the scores of models on texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from rar.errors import TrainingDataError
from rar.linear import Array
from rar.order import by_score
from rar.values import Vector

if TYPE_CHECKING:
    from rar.evaluation.table import Table

Winner: TypeAlias = Literal["model_a", "model_b", "tie"]

LEAST = 10  # rows
_COLUMNS = ("texts", "scores", "samples", "tags", "costs", "vectors")


@dataclass(frozen=True)
class Outcomes:
    """The scores of `m` models on `n` texts, higher is better. Of a pair, the first model is the weak one.

    A battle that a model won counts 1 for it and 0 for the other, a tie a half for both. `rar.evaluation.read_outcomes`
    reads them from a file.

    Args:
        texts: `n` texts.
        scores: Shape `(n, m)`; NaN where a model was not asked.
        models: `m` different names.
        samples: Several scores of each model, shape `(n, m, k)`, of which `scores` is the mean.
        tags: What each text is about.
        costs: USD of each answer, shape `(n, m)`.
        vectors: Embeddings of the texts, shape `(n, dim)`, unit norm.
        embedder_id: What made `vectors`.
        name: Where they come from, for messages and model cards.
    """

    texts: tuple[str, ...] = field(repr=False)
    scores: Array = field(repr=False, compare=False)
    models: tuple[str, ...]
    samples: Array | None = field(default=None, repr=False, compare=False)
    tags: tuple[str, ...] | None = field(default=None, repr=False)
    costs: Array | None = field(default=None, repr=False, compare=False)
    vectors: Vector | None = field(default=None, repr=False, compare=False)
    embedder_id: str = ""
    name: str = "outcomes"

    def __post_init__(self) -> None:
        for column in ("texts", "models", "tags"):
            if isinstance(getattr(self, column), list):
                object.__setattr__(self, column, tuple(getattr(self, column)))
        for column in ("scores", "samples", "costs"):
            if isinstance(getattr(self, column), (list, tuple)):
                object.__setattr__(self, column, self._numbers(column))
        n, m = len(self.texts), len(self.models)
        if len(set(self.models)) != m or m < 2:
            raise TrainingDataError(f"{self.name}: at least two models of different names are needed: {self.models}.")
        shapes = {"scores": (n, m), "costs": (n, m), "samples": (n, m, None), "tags": (n,), "vectors": (n, None)}
        for column, shape in shapes.items():
            values = getattr(self, column)
            if values is not None and not _has_shape(values, shape):
                raise TrainingDataError(
                    f"{self.name}: {column} has shape {np.shape(values)}, but there are {n} texts and {m} models."
                )
        if np.isinf(self.scores).any():
            raise TrainingDataError(
                f"{self.name}: row {int(np.argwhere(np.isinf(self.scores))[0, 0])} has no finite score."
            )

    def __len__(self) -> int:
        return len(self.texts)

    def _numbers(self, column: str) -> Array:
        try:
            return np.array(getattr(self, column), np.float64)
        except (TypeError, ValueError) as error:
            raise TrainingDataError(f"{self.name}: {column} are no array of numbers ({error}).") from error

    # --- where they come from ---------------------------------------------------------------------------------------

    @classmethod
    def of_table(cls, table: Table) -> Outcomes:
        """Those of the evaluation kit's table of a weak and a strong model."""
        costs = None
        if table.weak_cost is not None and table.strong_cost is not None:
            costs = np.stack([table.weak_cost, table.strong_cost], 1)
        return cls(
            table.texts,
            np.stack([table.weak, table.strong], 1),
            (table.weak_id, table.strong_id),
            tags=table.groups,
            costs=costs,
            vectors=table.vectors,
            embedder_id=table.embedder_id,
            name=table.name,
        )

    @classmethod
    def of_battles(
        cls,
        texts: Sequence[str],
        model_a: Sequence[str],
        model_b: Sequence[str],
        winner: Sequence[Winner],
        *,
        models: Sequence[str] | None = None,
        name: str = "battles",
    ) -> Outcomes:
        """Those of battles between two models each (as in Chatbot Arena).

        Args:
            winner: `"model_a"`, `"model_b"` or `"tie"` for each.
            models: Their order, and which are used; None: all, by name. Of a pair, the weak model comes first.
        """
        names = tuple(models) if models is not None else tuple(sorted({*model_a, *model_b}))
        place = {model: at for at, model in enumerate(names)}
        points = {"model_a": (1.0, 0.0), "model_b": (0.0, 1.0), "tie": (0.5, 0.5)}
        rows, kept = [], []
        for at, (text, a, b, won) in enumerate(zip(texts, model_a, model_b, winner, strict=True)):
            if won not in points:
                raise TrainingDataError(f"{name}: row {at} has winner {won!r}; it must be one of {sorted(points)}.")
            if a not in place or b not in place:
                continue
            row = np.full(len(names), np.nan)
            row[place[a]], row[place[b]] = points[won]
            rows.append(row)
            kept.append(text)
        if not rows:
            raise TrainingDataError(f"{name}: no battle is between two of the models {list(names)}.")
        return cls(tuple(kept), np.stack(rows), names, name=name)

    @classmethod
    def of_wins(
        cls, texts: Sequence[str], chances: Sequence[float], *, weak: str = "weak", strong: str = "strong"
    ) -> Outcomes:
        """Those of chances that the strong model's answer wins, in [0, 1]; a sure tie is a half."""
        wins = np.asarray(chances, np.float64)
        wrong = np.flatnonzero(~((wins >= 0.0) & (wins <= 1.0)))
        if len(wrong):
            raise TrainingDataError(f"win chances: row {wrong[0]} has {wins[wrong[0]]}, which is not between 0 and 1.")
        return cls(tuple(texts), np.stack([1.0 - wins, wins], 1), (weak, strong), name="win chances")

    # --- parts of them ----------------------------------------------------------------------------------------------

    @property
    def gap(self) -> Array:
        """What the last model's score is above the first one's, shape `(n,)`."""
        gaps: Array = self.scores[:, -1] - self.scores[:, 0]
        return gaps

    def take(self, rows: npt.NDArray[np.intp] | Sequence[int]) -> Outcomes:
        """The outcomes of `rows`, in that order."""
        return replace(self, **taken(self, _COLUMNS, rows))

    def pair(self, weak: str, strong: str) -> Outcomes:
        """Those of two of the models, on the texts that both were asked."""
        unknown = [model for model in (weak, strong) if model not in self.models]
        if unknown:
            raise TrainingDataError(f"{self.name}: there is no model {unknown[0]!r} among {list(self.models)}.")
        columns = [self.models.index(weak), self.models.index(strong)]
        both = np.flatnonzero(~np.isnan(self.scores[:, columns]).any(1))
        rows = self.take(both)
        return replace(
            rows,
            scores=rows.scores[:, columns],
            models=(weak, strong),
            samples=None if rows.samples is None else rows.samples[:, columns],
            costs=None if rows.costs is None else rows.costs[:, columns],
        )


def taken(data: object, columns: Sequence[str], rows: npt.NDArray[np.intp] | Sequence[int]) -> dict[str, Any]:
    """The given rows, in that order, of columns that are arrays, tuples or None."""
    index = np.asarray(rows, np.intp)

    def of(values: Any) -> Any:
        if isinstance(values, np.ndarray):
            return values[index]
        return None if values is None else tuple(values[row] for row in index)

    return {column: of(getattr(data, column)) for column in columns}


def teachable(data: Outcomes | Table, *, pair: bool) -> Outcomes:
    """`data` if a router can learn from it, else an error that says why not.

    Args:
        pair: Whether it is about a weak and a strong model: each row needs both scores, and gaps must differ.
    """
    outcomes = _outcomes(data)
    if len(outcomes) < LEAST:
        raise TrainingDataError(f"{outcomes.name}: {len(outcomes)} rows are too few to learn from; {LEAST} are needed.")
    if not pair:
        return outcomes
    paired(outcomes)
    if np.ptp(outcomes.gap) <= 1e-9:
        gap = outcomes.gap[0]
        better = f"the {'strong' if gap > 0.0 else 'weak'} model is better by {abs(gap):g}" if gap else "the models tie"
        raise TrainingDataError(
            f"{outcomes.name}: on every row {better}. There is nothing to learn; "
            "add rows with other outcomes, or a finer score."
        )
    return outcomes


def paired(data: Outcomes | Table) -> Outcomes:
    """`data` if it has the scores of a weak and a strong model on each row, else an error that says what it has."""
    outcomes = _outcomes(data)
    if len(outcomes.models) != 2:
        raise TrainingDataError(
            f"{outcomes.name}: this router decides between two models, but there are {len(outcomes.models)}: "
            f"{', '.join(outcomes.models)}. Choose two with `outcomes.pair(weak, strong)`."
        )
    missing = np.flatnonzero(np.isnan(outcomes.scores).any(1))
    if len(missing):
        raise TrainingDataError(
            f"{outcomes.name}: row {missing[0]} lacks a score (NaN), as do {len(missing)} in all. "
            "Drop them with `outcomes.pair(weak, strong)`."
        )
    return outcomes


def exchanged(data: Outcomes | Table) -> str | None:
    """A warning where the weak one of two models scored better by more than chance; None where it did not."""
    outcomes = _outcomes(data)
    return by_score(outcomes.scores[:, [0, -1]], outcomes.models[0], outcomes.models[-1])


def _outcomes(data: Any) -> Outcomes:
    if isinstance(data, Outcomes):
        return data
    if not hasattr(data, "weak_id"):
        raise TrainingDataError(
            f"Routers learn from outcomes, not from a {type(data).__name__}. Pass `Outcomes(texts, scores, models)`, "
            "or what `rar.evaluation.read_outcomes` reads from a file."
        )
    return Outcomes.of_table(data)


def _has_shape(values: Any, wanted: tuple[int | None, ...]) -> bool:
    found = np.shape(values)
    return len(found) == len(wanted) and all(size in (None, has) for size, has in zip(wanted, found, strict=True))
