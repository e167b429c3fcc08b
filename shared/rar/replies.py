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
    """Tokens of one or more calls: as the provider counted them, or `estimated` from the text (`rar.tokens`)."""

    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False  # in part at least

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.estimated or other.estimated,
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
    """

    model: str
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    model_id: str = ""
    native: Any = field(default=None, compare=False, repr=False)
    cached: bool = False

    @property
    def empty(self) -> bool:
        return not self.text.strip() and not self.tool_calls


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that raised, as a value."""

    model: str
    error: Exception

    def __repr__(self) -> str:
        return f"Failure({self.model!r}, {cause(self.error)})"
