"""How routers are trained that PyTorch fits: settings that all of them share."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

from typing_extensions import TypedDict, Unpack

from rar.options import COUNT, POSITIVE, Check, Number, check_arguments
from rar.routers.base import Config, LearnedRouter

_CHECKS: dict[str, Check] = {
    "rate": POSITIVE,
    "head_rate": Number(above=True, optional=True),
    "decay": Number(),
    "batch": COUNT,
    "epochs": COUNT,
    "patience": COUNT,
    "watched": Number(0.0, 0.99, above=True),  # some rows must be left to train on
    "seed": Number(whole=True),
}


@dataclass(frozen=True)
class Training:
    """How to train: by AdamW, its rate falling to zero in a line. The weights with the least error are kept.

    Args:
        rate: Of learning, at first.
        head_rate: That of weights whose name begins with "head"; None where there are none.
        decay: Of weights.
        batch: Rows of a step.
        epochs: At most.
        patience: Training ends after so many epochs without a smaller error.
        watched: Share of the rows that is not trained on and tells the error.
    """

    rate: float = 1e-4
    head_rate: float | None = 1e-3
    decay: float = 0.01
    batch: int = 32
    epochs: int = 4
    patience: int = 1
    watched: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            _CHECKS[field.name](field.name, getattr(self, field.name))


class TrainingOptions(TypedDict, total=False):
    """`Training` as keyword arguments of a router."""

    rate: float
    head_rate: float
    decay: float
    batch: int
    epochs: int
    patience: int
    watched: float
    seed: int


class TrainedRouter(LearnedRouter):
    """A learned router that PyTorch trains.

    Args:
        training: Settings of `Training` that differ from the router's `usual` ones.
    """

    usual: ClassVar[Training]

    def __init__(self, **training: Unpack[TrainingOptions]) -> None:
        check_arguments(type(self).__name__, training, type(self).arguments())
        self.training = replace(self.usual, **training)

    @property
    def settings(self) -> Config:
        return {**super().settings, **_given(self.training)}

    @classmethod
    def arguments(cls) -> dict[str, Any]:
        return {**super().arguments(), **_given(cls.usual)}


def _given(training: Training) -> dict[str, Any]:
    return {name: value for name, value in asdict(training).items() if value is not None}
