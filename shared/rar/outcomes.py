"""Recorded outcomes: what models scored on texts, what they answered, and what that cost.

Routers learn from them, and replays serve them again. `rar.evaluation.Table` is their view of two models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from rar.errors import TrainingDataError
from rar.linear import Array
from rar.order import by_score
from rar.values import STRONG, WEAK, Vector

Rows: TypeAlias = npt.NDArray[np.intp] | Sequence[int]
Winner: TypeAlias = Literal["model_a", "model_b", "tie"]

LEAST = 10  # rows
_COLUMNS = ("texts", "scores", "samples", "groups", "costs", "replies", "guided", "vectors")
WEAK_RATIO = 0.1  # of a strong call's cost, where nobody knows prices: what the ledger's learning budget takes it for


@dataclass(frozen=True)
class Replies:
    """What `m` models answered to `n` texts, once each or in `k` samples. Columns are None where nothing was kept.

    Args:
        texts: What was said, shape `(n, m)` or `(n, m, k)`.
        tokens: Of input and output, shape `(n, m, 2)` or `(n, m, k, 2)`.
        usd: What each answer cost, shape `(n, m)` or `(n, m, k)`; NaN where that is not known.
        seconds: How long each took, likewise.
        logprobs: Mean log-probability of each answer's tokens, likewise.
    """

    texts: npt.NDArray[Any] | None = field(default=None, repr=False, compare=False)
    tokens: Array | None = field(default=None, repr=False, compare=False)
    usd: Array | None = field(default=None, repr=False, compare=False)
    seconds: Array | None = field(default=None, repr=False, compare=False)
    logprobs: Array | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for column, values in self._columns().items():
            if isinstance(values, (list, tuple)):
                object.__setattr__(self, column, np.array(values, object if column == "texts" else np.float64))

    def check(self, n: int, m: int, where: str) -> None:
        """Refuse columns of another shape than `n` texts and `m` models have."""
        for column, values in self._columns().items():
            shape = _sampled(column, values)
            if len(shape) not in (2, 3) or shape[:2] != (n, m) or (column == "tokens" and np.shape(values)[-1] != 2):
                raise TrainingDataError(
                    f"{where}: replies.{column} has shape {np.shape(values)}, but there are {n} texts and {m} models."
                )

    def at(self, column: str, row: int, model: int, sample: int = 0) -> Any:
        """One value of a column; None where it was not kept."""
        values = getattr(self, column)
        if values is None:
            return None
        found = values[row, model]
        if len(_sampled(column, values)) == 3:
            found = found[sample % len(found)]
        return None if isinstance(found, float) and np.isnan(found) else found

    def take(self, rows: Rows, models: Sequence[int] | None = None) -> Replies:
        """Those of some rows, in that order, and of some models."""
        columns = slice(None) if models is None else list(models)
        kept = {name: values[np.asarray(rows, np.intp)][:, columns] for name, values in self._columns().items()}
        return replace(self, **kept)

    def _columns(self) -> dict[str, npt.NDArray[Any]]:
        """The columns that were kept."""
        named = {column.name: getattr(self, column.name) for column in fields(self)}
        return {name: values for name, values in named.items() if values is not None}


def _sampled(column: str, values: Any) -> tuple[int, ...]:
    """The shape of a column of replies: texts, models and, where there are several, samples."""
    return np.shape(values)[:-1] if column == "tokens" else np.shape(values)


@dataclass(frozen=True)
class Guided:
    """What the same models did with a guide of each text's own group.

    Args:
        scores: Shape `(n, m)`; NaN where a model was not asked with one.
        texts: What was said, shape `(n, m)`; None where nothing was kept.
    """

    scores: Array = field(repr=False, compare=False)
    texts: npt.NDArray[Any] | None = field(default=None, repr=False, compare=False)

    def take(self, rows: Rows, models: Sequence[int] | None = None) -> Guided:
        """Those of some rows, in that order, and of some models."""
        columns = slice(None) if models is None else list(models)
        index = np.asarray(rows, np.intp)
        return Guided(self.scores[index][:, columns], None if self.texts is None else self.texts[index][:, columns])


@dataclass(frozen=True)
class Outcomes:
    """The scores of `m` models on `n` texts, higher is better. The first model is the weak one, the last the strong.

    A battle that a model won counts 1 for it and 0 for the other, a tie a half for both. `rar.evaluation.read_outcomes`
    reads them from a file.

    Args:
        texts: `n` texts.
        scores: Shape `(n, m)`; NaN where a model was not asked.
        models: `m` different names.
        samples: Several scores of each model, shape `(n, m, k)`, of which `scores` is the mean.
        groups: What each text is about, for left-out groups and group priors.
        costs: USD of each answer, shape `(n, m)`; NaN where that is not known. None: those of `replies`.
        replies: The answers themselves, as far as they were kept.
        guided: What the models did with guides, where that was recorded.
        vectors: Embeddings of the texts, shape `(n, dim)`, unit norm.
        embedder_id: What made `vectors`.
        name: Where they come from, for messages and model cards.
        cost_from: Where the costs are from, in words.
        weak_ratio: What a call of another model counts where costs are in strong calls, 0 or more.
    """

    texts: tuple[str, ...] = field(repr=False)
    scores: Array = field(repr=False, compare=False)
    models: tuple[str, ...]
    samples: Array | None = field(default=None, repr=False, compare=False)
    groups: tuple[str, ...] | None = field(default=None, repr=False)
    costs: Array | None = field(default=None, repr=False, compare=False)
    replies: Replies | None = field(default=None, repr=False, compare=False)
    guided: Guided | None = field(default=None, repr=False, compare=False)
    vectors: Vector | None = field(default=None, repr=False, compare=False)
    embedder_id: str = ""
    name: str = "outcomes"
    cost_from: str = ""
    weak_ratio: float = WEAK_RATIO

    def __post_init__(self) -> None:
        for column in ("texts", "models", "groups"):
            if isinstance(getattr(self, column), list):
                object.__setattr__(self, column, tuple(getattr(self, column)))
        for column in ("scores", "samples", "costs"):
            if isinstance(getattr(self, column), (list, tuple)):
                object.__setattr__(self, column, self._numbers(column))
        n, m = len(self.texts), len(self.models)
        if len(set(self.models)) != m or m < 2:
            raise TrainingDataError(f"{self.name}: at least two models of different names are needed: {self.models}.")
        shapes = {"scores": (n, m), "costs": (n, m), "samples": (n, m, None), "groups": (n,), "vectors": (n, None)}
        for column, shape in shapes.items():
            values = getattr(self, column)
            if values is not None and not _has_shape(values, shape):
                raise TrainingDataError(
                    f"{self.name}: {column} has shape {np.shape(values)}, but there are {n} texts and {m} models."
                )
        if self.guided is not None and np.shape(self.guided.scores) != (n, m):
            raise TrainingDataError(
                f"{self.name}: guided scores have shape {np.shape(self.guided.scores)}, but there are {n} texts and "
                f"{m} models."
            )
        if self.replies is not None:
            self.replies.check(n, m, self.name)
            if self.costs is None and (usd := self.replies.usd) is not None:
                object.__setattr__(self, "costs", usd if usd.ndim == 2 else usd.mean(2))
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

    # --- what they say ----------------------------------------------------------------------------------------------

    @property
    def weak_id(self) -> str:
        """Name of the first model."""
        return self.models[0]

    @property
    def strong_id(self) -> str:
        """Name of the last model."""
        return self.models[-1]

    @property
    def weak(self) -> Array:
        """The first model's scores, shape `(n,)`."""
        return self.scores[:, 0]

    @property
    def strong(self) -> Array:
        """The last model's scores, shape `(n,)`."""
        return self.scores[:, -1]

    @property
    def gap(self) -> Array:
        """What the strong model's score is above the weak one's, shape `(n,)`."""
        return self.strong - self.weak

    @property
    def roles(self) -> tuple[str, ...]:
        """What a router calls the models: `"weak"`, their own names, `"strong"`."""
        return (WEAK, *self.models[1:-1], STRONG)

    @property
    def in_usd(self) -> bool:
        """Whether what calls cost is known; if not, a strong call counts 1 and another one `weak_ratio`."""
        return self.costs is not None and not np.isnan(self.costs).any()

    @property
    def call_costs(self) -> Array:
        """What a call of each model costs on each text, shape `(n, m)`."""
        if self.costs is not None and self.in_usd:
            return self.costs
        costs = np.full(self.scores.shape, self.weak_ratio)
        costs[:, -1] = 1.0
        return costs

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The row of each text, the first one where it stands in several."""
        return {text: row for row, text in reversed(list(enumerate(self.texts)))}

    @cached_property
    def group_numbers(self) -> Mapping[str, int]:
        """The number of each group, by name."""
        return {group: at for at, group in enumerate(sorted(set(self.groups or ())))}

    # --- parts of them ----------------------------------------------------------------------------------------------

    def take(self, rows: Rows) -> Self:
        """The outcomes of `rows`, in that order."""
        index = np.asarray(rows, np.intp)

        def of(values: Any) -> Any:
            if isinstance(values, np.ndarray):
                return values[index]
            if isinstance(values, (Replies, Guided)):
                return values.take(index)
            return None if values is None else tuple(values[row] for row in index)

        return replace(self, **{column: of(getattr(self, column)) for column in _COLUMNS})

    def of_models(self, *names: str) -> Outcomes:
        """Those of some of the models, in that order, on the texts that all of them were asked.

        Raises:
            TrainingDataError: There is no such model.
        """
        unknown = [model for model in names if model not in self.models]
        if unknown:
            raise TrainingDataError(f"{self.name}: there is no model {unknown[0]!r} among {list(self.models)}.")
        columns = [self.models.index(model) for model in names]
        rows = np.flatnonzero(~np.isnan(self.scores[:, columns]).any(1))
        kept = {column.name: getattr(self.take(rows), column.name) for column in fields(Outcomes)}
        for column in ("scores", "samples", "costs"):
            kept[column] = None if kept[column] is None else kept[column][:, columns]
        if self.replies is not None:
            kept["replies"] = self.replies.take(rows, columns)
        if self.guided is not None:
            kept["guided"] = self.guided.take(rows, columns)
        return Outcomes(**{**kept, "models": names})

    def pair(self, weak: str, strong: str) -> Outcomes:
        """Those of two of the models, on the texts that both were asked."""
        return self.of_models(weak, strong)


def teachable(data: Outcomes, *, pair: bool) -> Outcomes:
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


def paired(data: Outcomes) -> Outcomes:
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


def exchanged(data: Outcomes) -> str | None:
    """A warning where the weak one of two models scored better by more than chance; None where it did not."""
    outcomes = _outcomes(data)
    return by_score(outcomes.scores[:, [0, -1]], outcomes.models[0], outcomes.models[-1])


def _outcomes(data: Any) -> Outcomes:
    if isinstance(data, Outcomes):
        return data
    raise TrainingDataError(
        f"Routers learn from outcomes, not from a {type(data).__name__}. Pass `Outcomes(texts, scores, models)`, "
        "or what `rar.evaluation.read_outcomes` reads from a file."
    )


def _has_shape(values: Any, wanted: tuple[int | None, ...]) -> bool:
    found = np.shape(values)
    return len(found) == len(wanted) and all(size in (None, has) for size, has in zip(wanted, found, strict=True))
