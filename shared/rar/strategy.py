"""What a strategy is, and the only two ways in which it asks models.

A strategy is a frozen dataclass with `steps(request)`: a generator that yields batches of calls whose replies it must
*read*, and returns what it decides. It does no I/O, keeps no state between requests, and holds no lock, timeout or
context variable across a `yield`. `drive` and `adrive` run it; `docs/strategies/writing.md` shows one call end to end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from rar.errors import UnknownModelError
from rar.naming import function_name
from rar.values import Call, Choice, Decision, Failure, Guide, Message, Purpose, Reply, Request, Route, Sampling

T = TypeVar("T")
Outcome: TypeAlias = Reply | Failure
Steps: TypeAlias = Generator[list[Call], list[Outcome], T]


@runtime_checkable
class Strategy(Protocol):
    """Decides who answers a request."""

    def steps(self, request: Request) -> Steps[Choice]:
        """Yield batches of calls through `ask` or `ask_all`; return a `Route` to pass on, or an `Answer` it has."""
        ...


@runtime_checkable
class HearsServed(Protocol):
    """A strategy that is told what was served, such as one that keeps answers."""

    def served(self, decision: Decision, reply: Reply, /) -> None:
        """Called once an answer was given whole, in whatever mode. What it raises is logged."""
        ...


def ask(
    model: str,
    request: Request,
    *,
    guide: Guide | None = None,
    purpose: Purpose = "draft",
    sampling: Sampling | None = None,
    messages: Sequence[Message] | None = None,
) -> Steps[Reply]:
    """Have one call made and return its reply.

    Args:
        messages: Sent instead of the request's.

    Raises:
        Exception: Whatever the call raised.
    """
    instead = None if messages is None else tuple(messages)
    (outcome,) = yield from ask_all([Call(model, request, guide, purpose, sampling, instead)])
    if isinstance(outcome, Failure):
        raise outcome.error
    return outcome


def ask_all(calls: Sequence[Call]) -> Steps[list[Outcome]]:
    """Have all `calls` made, at the same time where the driver can, and return their outcomes in the same order."""
    return (yield list(calls))


def innermost(strategy: Strategy) -> Strategy:
    """The strategy that decides what those around it, each with an `inner` one, leave to it."""
    while isinstance(inner := getattr(strategy, "inner", None), Strategy):
        strategy = inner
    return strategy


def keeps_floor(strategy: Strategy) -> bool:
    """Whether the router's policy decides by what was learned: RAR, or a cascade whose drafts are scored so."""
    return bool(getattr(innermost(strategy), "keeps_floor", False))


def drafters(strategy: Strategy) -> tuple[str, ...]:
    """The models whose drafts a strategy looks at by what was learned of them."""
    return tuple(getattr(innermost(strategy), "drafters", ()))


def check_models(strategy: object, known: Collection[str]) -> None:
    """Refuse a strategy whose `models` are not all known, where it lists them; or `asks`, where that lists more.

    Raises:
        UnknownModelError: One is not.
    """
    listed = getattr(strategy, "asks", getattr(strategy, "models", ()))
    names = listed.values() if isinstance(listed, Mapping) else listed
    for name in names if isinstance(names, Collection) else ():
        if isinstance(name, str) and name not in known:
            raise UnknownModelError(name, known)


class _Function:
    def __init__(self, decide: Callable[[Request], Any]) -> None:
        self.decide = decide

    def __repr__(self) -> str:
        return f"strategy({function_name(self.decide)!r})"

    def steps(self, request: Request) -> Steps[Choice]:
        chosen = self.decide(request)
        return Route(chosen, reason="function") if isinstance(chosen, str) else chosen
        yield []  # makes this a generator


def as_strategy(value: Strategy | Callable[[Request], Choice | str]) -> Strategy:
    """Lift a plain function of a request, which returns a `Route` or a model's name, to a strategy."""
    return value if isinstance(value, Strategy) else _Function(value)
