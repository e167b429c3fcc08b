"""Problems that are solved thought by thought, and which thoughts go on: the pure part of `TreeOfThoughts`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from rar.answers import question_of, words_of
from rar.errors import ConfigurationError
from rar.naming import shown
from rar.options import COUNT, named_arguments
from rar.strategies.chain_of_thought import concluded
from rar.values import Request

VALUES: Mapping[str, float] = MappingProxyType({"impossible": 0.001, "likely": 1.0, "sure": 20.0})
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.)])\s+")
_ANSWER = re.compile(r"^[\s*_#]*(?:final )?answer\b", re.IGNORECASE)


@runtime_checkable
class Task(Protocol):
    """What a problem is like, how it is put to a model, and how replies are read. A state is a text."""

    @property
    def depth(self) -> int:
        """After how many thoughts a state counts as a solution."""
        ...

    def start(self, request: Request) -> str | None:
        """The first state; None of a request that is no such problem."""
        ...

    def proposing(self, request: Request, state: str) -> str:
        """The prompt that asks for next thoughts."""
        ...

    def proposed(self, request: Request, state: str, said: str) -> Sequence[str]:
        """The states that a reply to it leads to."""
        ...

    def valuing(self, request: Request, state: str) -> str:
        """The prompt that asks how far a state may lead. States with the same one are asked about once."""
        ...

    def value(self, said: Sequence[str]) -> float:
        """What several replies to it are worth together; higher is better."""
        ...

    def solved(self, request: Request, state: str) -> bool:
        """Whether a state is a solution, so that it needs no more thoughts."""
        ...

    def answer(self, request: Request, state: str) -> str:
        """What the user is shown of a solution."""
        ...


_PROPOSE = """\
{question}

Thoughts so far:
{state}

Propose up to five different next thoughts, one a line and nothing else. A thought is one short step that leads closer \
to the answer. Where the answer is reached, write it as a line that begins with "Answer:"."""
_VALUE = """\
{question}

Thoughts so far:
{state}

Do these lead to a right answer? Check them, and end with one word: sure, likely or impossible."""


@named_arguments
@dataclass(frozen=True)
class PromptTask:
    """A problem that is put by two prompts. A line of a reply is a thought, and one with "Answer:" solves the problem.

    Args:
        depth: After how many thoughts a state counts as a solution at the latest.
        propose, evaluate: With `{question}` and `{state}`, which are put in.
        values: What the last of these words of a reply is worth.
    """

    depth: int = 3
    propose: str = field(default=_PROPOSE, repr=False)
    evaluate: str = field(default=_VALUE, repr=False)
    values: Mapping[str, float] = field(default_factory=lambda: VALUES)

    def __post_init__(self) -> None:
        COUNT("depth", self.depth)
        for name in ("propose", "evaluate"):
            prompt = getattr(self, name)
            if not isinstance(prompt, str) or "{state}" not in prompt:
                raise ConfigurationError(f"{name}={shown(prompt)} has no {{state}} to put thoughts in.")

    def start(self, request: Request) -> str | None:
        return "" if question_of(request).strip() else None

    def proposing(self, request: Request, state: str) -> str:
        return _filled(self.propose, question_of(request), state)

    def proposed(self, request: Request, state: str, said: str) -> Sequence[str]:
        lines = (_BULLET.sub("", line).strip() for line in said.splitlines())
        return [f"{state}{line}\n" for line in lines if line]

    def valuing(self, request: Request, state: str) -> str:
        return _filled(self.evaluate, question_of(request), state)

    def value(self, said: Sequence[str]) -> float:
        found = (next((word for word in reversed(words_of(text)) if word in self.values), None) for text in said)
        return sum(self.values[word] for word in found if word is not None)

    def solved(self, request: Request, state: str) -> bool:
        return bool(state) and _ANSWER.match(state.splitlines()[-1]) is not None

    def answer(self, request: Request, state: str) -> str:
        return concluded(state)


def _filled(prompt: str, question: str, state: str) -> str:
    before, _, after = prompt.partition("{state}")
    return before.replace("{question}", question) + (state.strip() or "(none)") + after.replace("{question}", question)


@dataclass(frozen=True)
class Node:
    """A state of the search, how it was valued, and whether the search went on from it."""

    step: int
    state: str
    parent: str
    value: float
    kept: bool = False


def best(values: Sequence[float], b: int) -> list[int]:
    """The places of the `b` highest values, the highest first, equals in their order."""
    return sorted(range(len(values)), key=lambda at: -values[at])[:b]
