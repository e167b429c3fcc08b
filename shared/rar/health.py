"""Whether models answer at present: fail-over passes over those that just failed again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

ILL_AFTER = 3  # failures in a row
REST = 30.0  # seconds that a model is passed over after that


class Health:
    """Counts failures in a row by a model's name. Any thread may call it: what two write at once costs one count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: dict[str, tuple[int, float]] = {}  # how many in a row, and when the last was

    def failed(self, model: str) -> None:
        self._failures[model] = self._failures.get(model, (0, 0.0))[0] + 1, self._clock()

    def answered(self, model: str) -> None:
        if model in self._failures:
            self._failures.pop(model, None)

    def is_ill(self, model: str) -> bool:
        count, at = self._failures.get(model, (0, 0.0))
        return count >= ILL_AFTER and 0.0 <= self._clock() - at < REST

    def sorted(self, models: Sequence[str]) -> list[str]:
        """The models in their order, but those that are ill at the end, the last of them first: one must do."""
        well = [model for model in models if not self.is_ill(model)]
        return well + [model for model in reversed(models) if model not in well]
