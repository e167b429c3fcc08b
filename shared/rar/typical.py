"""What a call usually takes: moving means of tokens by model and kind of call."""

from __future__ import annotations

from typing import NamedTuple

from rar.values import Purpose

_RECENT = 0.05  # weight of the newest call in a moving mean


class Tokens(NamedTuple):
    """Means of a call's tokens, and the variance of those that come out."""

    into: float
    out: float
    variance: float

    @classmethod
    def about(cls, into: float, out: float) -> Tokens:
        """A guess, as far off as it is large."""
        return cls(into, out, out**2)

    def towards(self, into: int, out: int) -> Tokens:
        """The means after another call."""
        off = out - self.out
        return Tokens(
            self.into + _RECENT * (into - self.into),
            self.out + _RECENT * off,
            (1.0 - _RECENT) * (self.variance + _RECENT * off**2),
        )


class Typical:
    """Means by role, model id and kind of call: guides and verdicts are of another length than answers."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], Tokens] = {}

    def add(self, role: str, model_id: str, purpose: Purpose, into: int, out: int) -> None:
        key = (role, model_id, _kind(purpose))
        self._known[key] = (self._known.get(key) or Tokens.about(into, out)).towards(into, out)

    def of(self, role: str, model_id: str, purpose: Purpose) -> Tokens | None:
        """None where no such call was made."""
        return self._known.get((role, model_id, _kind(purpose)))


def _kind(purpose: Purpose) -> str:
    return purpose if purpose in ("guide", "judge") else "answer"
