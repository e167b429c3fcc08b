"""Observers: told of each decision, call, lesson, write, move and alarm, as typed values.

An observer is any object with some of the methods `decided`, `called`, `learned`, `stored`, `moved` and `alarmed`::

    class Slow:
        def called(self, event: Called) -> None:
            if event.seconds is not None and event.seconds > 10:
                print(event.model_id, event.seconds)

    Router(..., observers=[Slow()])

What an observer raises reaches nobody: it is logged once for each of its methods. Events hold no text of a prompt, an
answer or a guide, and no secret. They come in the thread, or on the event loop, where they happen, and outside locks:
those of one request in their order, those of different requests in any. So a method may be called by several threads at
once, and what takes time belongs into a queue of the observer's own.

One that also has a method `attached` is given each router that it observes, before the first event, and one with a
method `detached` once the router is closed.
"""

from __future__ import annotations

import inspect
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from rar.errors import ConfigurationError
from rar.facts import DecisionFacts, facts_of
from rar.memory.base import PolicyState, PolicyStep
from rar.naming import cause, shown
from rar.notices import Notices
from rar.values import Purpose, Usage

if TYPE_CHECKING:
    from rar.router import Router
    from rar.values import Decision

Alarm: TypeAlias = Literal["drift", "budget", "unwritable", "quarantined", "spent"]


class Decided:
    """A request was decided. The call that serves it comes next, unless a draft already does.

    Args:
        at: Seconds since the epoch.
        facts: Or the decision, of which they are made when somebody asks: that takes longer than most observers do.
        recall_seconds: What looking up took; 0 where nothing was looked up.
        strategy_seconds: What choosing took, with the strategy's own calls.
    """

    name: ClassVar[str] = "decided"
    __slots__ = ("_decision", "_facts", "at", "decision_id", "recall_seconds", "strategy_seconds")

    def __init__(
        self,
        at: float,
        facts: DecisionFacts | Decision,
        recall_seconds: float = 0.0,
        strategy_seconds: float = 0.0,
    ) -> None:
        self.at, self.recall_seconds, self.strategy_seconds = at, recall_seconds, strategy_seconds
        self._facts: DecisionFacts | None
        self._decision: Decision | None
        if isinstance(facts, DecisionFacts):
            self._facts, self._decision, self.decision_id = facts, None, facts.decision_id
        else:
            self._facts, self._decision, self.decision_id = None, facts, facts.id

    @property
    def facts(self) -> DecisionFacts:
        if self._facts is None:
            assert self._decision is not None
            self._facts = facts_of(self._decision)
        return self._facts

    def __repr__(self) -> str:
        times = f"recall_seconds={self.recall_seconds!r}, strategy_seconds={self.strategy_seconds!r}"
        return f"Decided(at={self.at!r}, facts={self.facts!r}, {times})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Decided, (self.at, self.facts, self.recall_seconds, self.strategy_seconds)


def decision_of(event: Decided) -> Decision | None:
    """The decision itself, for observers of this package: it holds texts. None of an event that was made of facts."""
    return event._decision  # noqa: SLF001 - of this module


@dataclass(frozen=True, slots=True)
class Called:
    """A model was called: to serve, for a strategy, or to learn. An abandoned stream is not among them.

    Args:
        model: Its name in the router, such as `"weak"`.
        model_id: The provider's name; empty where nothing came back.
        decision_id: The decision that it was for.
        usage: None where nothing came back.
        usd: None where no price is known, or nothing came back.
        seconds: Until the last token, of a stream with the time that its reader took; None where nobody measured.
        error: Type of what was raised; None where it answered.
        cached: It came from a cache, and cost nothing.
        added_tokens: Those of the input that a strategy added to what the user sent.
        prefix_tokens: Those of the input that the strong model's provider would have had cached besides, had that model
            answered the calls before.
        thread: Label of the conversation, from which nobody learns its id; empty where none is known.
    """

    name: ClassVar[str] = "called"
    at: float
    namespace: str
    purpose: Purpose
    model: str
    model_id: str = ""
    decision_id: str = ""
    usage: Usage | None = None
    usd: float | None = None
    seconds: float | None = None
    error: str | None = None
    cached: bool = False
    added_tokens: int = 0
    thread: str = ""
    prefix_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Learned:
    """A lesson is over. `facts.learned` says what was found, `facts.not_learned` why nothing was."""

    name: ClassVar[str] = "learned"
    at: float
    facts: DecisionFacts
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A transaction of the memory brought in decisions and what was learned.

    Args:
        decisions: Their ids.
        experiences, guides, trials: How many were written.
        seconds: What the memory took.
    """

    name: ClassVar[str] = "stored"
    at: float
    decisions: tuple[str, ...]
    experiences: int = 0
    guides: int = 0
    trials: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Moved:
    """A judged or served answer moved a policy's state, and that is stored.

    Args:
        state: What it has come to, together with other moves that were stored meanwhile.
    """

    name: ClassVar[str] = "moved"
    at: float
    namespace: str
    step: PolicyStep
    state: PolicyState


@dataclass(frozen=True, slots=True)
class Alarmed:
    """Something wants a look.

    Args:
        kind: `"drift"`: a model answers worse than it did. `"budget"`: learning waits for its budget. `"unwritable"`:
            the memory cannot be written. `"quarantined"`: a guide was. `"spent"`: a spending limit was reached.
        about: What it concerns: a guide's id, a model's, or a limit.
    """

    name: ClassVar[str] = "alarmed"
    at: float
    kind: Alarm
    namespace: str = ""
    about: str = ""


Event: TypeAlias = Decided | Called | Learned | Stored | Moved | Alarmed
EVENTS: tuple[type[Event], ...] = (Decided, Called, Learned, Stored, Moved, Alarmed)


class HearsDecided(Protocol):
    """An observer of decisions."""

    def decided(self, event: Decided, /) -> object: ...


class HearsCalled(Protocol):
    """An observer of model calls."""

    def called(self, event: Called, /) -> object: ...


class HearsLearned(Protocol):
    """An observer of lessons."""

    def learned(self, event: Learned, /) -> object: ...


class HearsStored(Protocol):
    """An observer of what is written to the memory."""

    def stored(self, event: Stored, /) -> object: ...


class HearsMoved(Protocol):
    """An observer of moves of a policy's state."""

    def moved(self, event: Moved, /) -> object: ...


class HearsAlarmed(Protocol):
    """An observer of alarms."""

    def alarmed(self, event: Alarmed, /) -> object: ...


Observer: TypeAlias = HearsDecided | HearsCalled | HearsLearned | HearsStored | HearsMoved | HearsAlarmed


def as_dict(event: Event) -> dict[str, Any]:
    """An event as JSON has it, with its name as `event`."""
    if isinstance(event, Decided):
        times = {"recall_seconds": event.recall_seconds, "strategy_seconds": event.strategy_seconds}
        return {"event": event.name, "at": event.at, "facts": event.facts.as_dict(), **times}
    facts = asdict(event)
    if isinstance(event, Learned):
        facts["facts"] = event.facts.as_dict()
    return {"event": event.name, **facts}


class Observers:
    """Tells each observer what it has a method for, in the order in which they were given. Any thread may call it.

    Raises:
        ConfigurationError: What is among them observes nothing, or asynchronously.
    """

    def __init__(
        self,
        observers: Sequence[Observer] = (),
        notices: Notices | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._notices, self._clock = notices or Notices(), clock
        self._all = tuple(observers)
        self._methods: dict[type[Event], list[tuple[str, Callable[[Any], object]]]] = {kind: [] for kind in EVENTS}
        for number, observer in enumerate(observers):
            for kind, method in _methods_of(observer).items():
                self._methods[kind].append((f"observer:{number}:{kind.name}", method))

    def attach(self, router: Router) -> None:
        """Give `router` to those who ask for it. Never raises."""
        self._give("attached", router)

    def detach(self, router: Router) -> None:
        """Tell those who ask that `router` is closed. Never raises."""
        self._give("detached", router)

    def _give(self, name: str, router: Router) -> None:
        for number, observer in enumerate(self._all):
            if callable(method := getattr(observer, name, None)):
                self._guarded(f"observer:{number}:{name}", name, method, router)

    def hear(self, kind: type[Event]) -> bool:
        """Whether anybody does: an event that nobody hears need not be made."""
        return bool(self._methods[kind])

    def tell(self, event: Event) -> None:
        """Tell all who hear such events. Never raises."""
        for notice, method in self._methods[type(event)]:
            self._guarded(notice, event.name, method, event)

    def _guarded(self, notice: str, name: str, method: Callable[[Any], object], given: object) -> None:
        try:
            method(given)
        except (KeyboardInterrupt, SystemExit):
            raise  # a signal's, which happened to arrive here
        except BaseException as error:
            who = type(getattr(method, "__self__", method)).__name__
            self._notices(notice, "Observer %s failed in `%s`; its later failures are not logged. %s", who, name,
                          cause(error))  # fmt: skip

    def now(self) -> float:
        """The time that events are told with."""
        return self._clock()

    def alarm(self, kind: Alarm, namespace: str = "", about: str = "") -> None:
        """Tell of an alarm, as `tell` does."""
        if self._methods[Alarmed]:
            self.tell(Alarmed(self._clock(), kind, namespace, about))


def _methods_of(observer: Observer) -> dict[type[Event], Callable[[Any], object]]:
    found = {kind: getattr(observer, kind.name) for kind in EVENTS if callable(getattr(observer, kind.name, None))}
    names = ", ".join(f"`{kind.name}`" for kind in EVENTS)
    if isinstance(observer, type):
        raise ConfigurationError(f"observers= holds the class {observer.__name__}. Pass an object of it.")
    if not found:
        raise ConfigurationError(f"observers= holds {shown(observer)}, which has none of the methods {names}.")
    for kind, method in found.items():
        if inspect.iscoroutinefunction(method):
            raise ConfigurationError(
                f"`{kind.name}` of {type(observer).__name__} is async, but observers are told by a plain call. "
                "Write `def`, and put what takes time into a queue."
            )
    return found


class JsonLines:
    """An observer that writes a line of JSON for each event to a file, at once. Processes and threads may share it.

    Args:
        path: It is created, or added to.

    Raises:
        ConfigurationError: It cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        except OSError as error:
            raise ConfigurationError(f"JsonLines cannot write {shown(self.path)}: {error.strerror}.") from None

    def __repr__(self) -> str:
        return f"JsonLines({str(self.path)!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> JsonLines:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return JsonLines, (self.path,)

    def decided(self, event: Decided) -> None:
        self._write(event)

    def called(self, event: Called) -> None:
        self._write(event)

    def learned(self, event: Learned) -> None:
        self._write(event)

    def stored(self, event: Stored) -> None:
        self._write(event)

    def moved(self, event: Moved) -> None:
        self._write(event)

    def alarmed(self, event: Alarmed) -> None:
        self._write(event)

    def close(self) -> None:
        """Let go of the file. Later events are dropped."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, event: Event) -> None:
        if self._file >= 0:
            # One call for one line: what is appended so is not torn by other threads or processes.
            os.write(self._file, json.dumps(as_dict(event), default=str).encode() + b"\n")
