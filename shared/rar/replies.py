"""What comes back from a model, as frozen values of no framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rar.naming import cause


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that a model asked for: its name and its arguments as parsed JSON."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more calls: as the provider counted them, or `estimated` from the text (`rar.tokens`).

    Args:
        cached_tokens: Those of the input that the provider read from its cache.
        reasoning_tokens: Those of the output that nobody sees.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False  # in part at least
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.estimated or other.estimated,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    @property
    def total(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered.

    Args:
        usage: What the provider reported; counts that are 0 were not, and are estimated where they are needed.
        model_id: The provider's own name of the model that answered.
        cached: It came from a cache of the framework, and cost nothing.
        logprobs: Each token of the text and its log-probability; None where the model gave none.
        finish: Why it ended: `"stop"`, `"length"`, `"tool_calls"` or `"content_filter"`; empty where that is not known.
        seconds: How long the call took; None where nobody measured.
        usd: What the provider says that the call cost; None: what its tokens cost by their prices.
    """

    model: str
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    model_id: str = ""
    native: Any = field(default=None, compare=False, repr=False)
    cached: bool = False
    logprobs: tuple[tuple[str, float], ...] | None = field(default=None, repr=False)
    finish: str = ""
    seconds: float | None = field(default=None, compare=False)
    usd: float | None = None

    @property
    def empty(self) -> bool:
        return not self.text.strip() and not self.tool_calls


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that raised, as a value."""

    model: str
    error: Exception
    seconds: float | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"Failure({self.model!r}, {cause(self.error)})"


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call that was made for one decision, without any text.

    Args:
        purpose: `"serve"` of the one whose reply the user got, else `"draft"`, or `"judge"`.
        seconds: None where nobody measured.
        usd: None where no price is known.
        failed: It raised, or its reply held no answer and was refused.
    """

    model: str
    purpose: str
    usage: Usage = Usage()
    seconds: float | None = None
    usd: float | None = None
    failed: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts."""
        return {
            "model": self.model,
            "purpose": self.purpose,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "seconds": None if self.seconds is None else round(self.seconds, 4),
            "usd": self.usd,
            "failed": self.failed,
        }
