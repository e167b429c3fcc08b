"""A table of two models' scores on the same questions, which replays and baselines work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rar.errors import EvaluationDataError
from rar.routers.outcomes import taken
from rar.values import Vector

Array: TypeAlias = npt.NDArray[np.float64]

_COLUMNS = (
    "texts", "weak", "strong", "groups", "weak_cost", "strong_cost", "weak_answers", "strong_answers",
    "tokens", "vectors",
)  # fmt: skip
WEAK_RATIO = 0.1  # of a strong call's cost, where nobody knows prices: what the ledger's learning budget takes it for


@dataclass(frozen=True)
class Table:
    """`n` questions with two models' scores, which are at least 0, higher is better. All arrays have shape `(n,)`.

    Args:
        groups: What each question is about, for left-out groups and the group prior.
        weak_cost, strong_cost: USD of each answer; without both, costs are in strong calls.
        weak_answers, strong_answers: What was answered, for judges that compare answers.
        tokens: Input and output tokens of the weak and the strong call, shape `(n, 2, 2)`.
        vectors: Embeddings of the texts, shape `(n, dim)`, unit norm.
        embedder_id: What made `vectors`.
        cost_from: Where the costs are from, in words.
        weak_ratio: What a weak call counts where costs are in strong calls, 0 or more.
    """

    texts: tuple[str, ...] = field(repr=False)
    weak: Array = field(repr=False, compare=False)
    strong: Array = field(repr=False, compare=False)
    groups: tuple[str, ...] | None = field(default=None, repr=False)
    weak_cost: Array | None = field(default=None, repr=False, compare=False)
    strong_cost: Array | None = field(default=None, repr=False, compare=False)
    weak_answers: tuple[str, ...] | None = field(default=None, repr=False)
    strong_answers: tuple[str, ...] | None = field(default=None, repr=False)
    tokens: Array | None = field(default=None, repr=False, compare=False)
    vectors: Vector | None = field(default=None, repr=False, compare=False)
    embedder_id: str = ""
    weak_id: str = "weak"
    strong_id: str = "strong"
    name: str = "table"
    cost_from: str = ""
    weak_ratio: float = WEAK_RATIO

    def __post_init__(self) -> None:
        if not self.texts:
            raise EvaluationDataError(self.name, "there are no rows")
        for column in _COLUMNS[1:]:
            values = getattr(self, column)
            if values is not None and len(values) != len(self.texts):
                raise EvaluationDataError(self.name, f"{len(self.texts)} texts but {len(values)} values", column=column)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def gap(self) -> Array:
        """What the strong model's score is above the weak one's."""
        return self.strong - self.weak

    @property
    def in_usd(self) -> bool:
        """Whether what calls cost is known; if not, a strong call counts 1 and a weak one `weak_ratio`."""
        return self.weak_cost is not None and self.strong_cost is not None

    @property
    def call_costs(self) -> tuple[Array, Array]:
        """What a call of the weak model and one of the strong model costs on each question."""
        if self.weak_cost is None or self.strong_cost is None:
            return np.full(len(self), self.weak_ratio), np.ones(len(self))
        return self.weak_cost, self.strong_cost

    def take(self, rows: npt.NDArray[np.intp] | Sequence[int]) -> Table:
        """The table of `rows`, in that order."""
        return replace(self, **taken(self, _COLUMNS, rows))
