"""What a static router is: a prediction from the text alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from rar.errors import ConfigurationError


@runtime_checkable
class StaticRouter(Protocol):
    """Predicts, before any model is called, how likely the strong model is needed. Any thread may call it."""

    def score(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the chance that the strong model is needed for each text, shape `(len(texts),)`, in [0, 1]."""
        ...


class _Function:
    def __init__(self, score: Callable[[str], float]) -> None:
        self._score = score

    def score(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        return np.array([float(self._score(text)) for text in texts])


def as_static_router(value: Any) -> StaticRouter | None:
    """A static router, or one made of a function from a text to the chance that the strong model is needed."""
    if value is None or isinstance(value, StaticRouter):
        return value
    if callable(value):
        return _Function(value)
    raise ConfigurationError(
        f"static_router={value!r} has no `score(texts)`. Pass a static router or a function from a text to a chance."
    )
