"""A rollout in steps: first nobody gets a cheaper answer, then a few, then all, as far as audits allow.

While a conversation has no part in it, the strong model answers, and what the router preferred is tried beside it by
chance. So the quality that all would get is known before anybody gets it. The stage is kept in the memory for each
namespace, and all processes follow it.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from rar.errors import ConfigurationError
from rar.facts import DecisionFacts, read_facts
from rar.intervals import Share, mixed, wilson
from rar.memory.base import Batch, DecisionRecord, Memory, PolicyStep
from rar.memory.identity import keyed_digest
from rar.naming import shown
from rar.options import COUNT, SHARE
from rar.values import STRONG, Choice, Request, Route
from rar.words import AUDIT, DECIDED_CHEAPER, DECIDED_STRONG

if TYPE_CHECKING:
    from rar.observers import Learned

REASON: Final = "rollout"
STATE: Final = "#rollout"  # under which the share is kept among a namespace's policy states
_FOLLOWED: Final = 2.0  # seconds after which a share that another process set is seen
_NAMESPACES: Final = 10_000  # whose stages are kept in mind
_MOST: Final = 5_000  # decisions that a stage is judged by
_DECIDED: Final = DECIDED_CHEAPER | DECIDED_STRONG
_WANTED: Final = frozenset({AUDIT, "memory_unsure", REASON})  # of strong answers: a cheaper one was preferred

Verdict: TypeAlias = Literal["promote", "stay", "back"]


@dataclass(frozen=True, slots=True)
class Rollout:
    """How cheaper models are let in, step by step.

    Args:
        stages: Shares of conversations that may get cheaper answers, rising, from 0 to 1. Each namespace begins at the
            first. 0 is a shadow: the strong model answers everything.
        audits: Judged answers that a stage needs before it is promoted.
        looks: Chance with which a cheaper answer that is held back is tried all the same, to see what it is worth.
        automatic: Promote when the lower bound of the quality is above the floor, and go back a stage when the upper
            bound is below it, or a model changed under its name. False: only people move it (`rar rollout`).

    Raises:
        ConfigurationError: A value cannot work.
    """

    stages: tuple[float, ...] = (0.0, 0.01, 0.1, 1.0)
    audits: int = 100
    looks: float = 0.3
    automatic: bool = True

    def __post_init__(self) -> None:
        stages = tuple(self.stages)
        for stage in stages:
            SHARE("stages", stage)
        if not stages or any(a >= b for a, b in pairwise(stages)):
            raise ConfigurationError(f"stages={shown(self.stages)} are no rising shares, for example (0.0, 0.1, 1.0).")
        COUNT("audits", self.audits)
        SHARE("looks", self.looks)
        object.__setattr__(self, "stages", stages)

    def next(self, share: float) -> float:
        """The share after this one."""
        return next((stage for stage in self.stages if stage > share), share)

    def before(self, share: float) -> float:
        """The share before this one."""
        return next((stage for stage in reversed(self.stages) if stage < share), min(share, self.stages[0]))


@dataclass(frozen=True, slots=True)
class Seen:
    """What audits say of a stage.

    Args:
        quality: That all would get if all got cheaper answers, as a share of the strong model's; None before any audit.
        audits: That it rests on.
        decided: Decisions since the stage began.
    """

    quality: Share | None
    audits: int
    decided: int


def seen_of(facts: Iterable[DecisionFacts]) -> Seen:
    """What decisions of a stage say of the quality, whoever answered.

    Of all that were decided, a share would get cheaper answers. What these lose is known of those that were judged.
    """
    decided, wanted, losses = 0, 0, list[float]()
    for one in facts:
        if one.reason not in _DECIDED:
            continue
        decided += 1
        if one.model == STRONG and one.reason not in _WANTED:
            continue
        wanted += 1
        if (loss := _loss(one)) is not None:
            losses.append(loss)
    good = wilson(len(losses) - sum(losses), len(losses))
    quality = mixed([(wanted / decided, good)]) if decided and good is not None else None
    return Seen(quality, len(losses), decided)


def _loss(facts: DecisionFacts) -> float | None:
    """What a cheaper answer was found to lose, from 0 to 1; None where it was not judged."""
    learned = facts.learned
    if learned is None or not facts.audit:
        return None
    if facts.model != STRONG:
        return None if learned.audit_agreed is None else float(not learned.audit_agreed)
    tried = next((one for one in learned.attempts if one.drawn), None)
    if tried is None:
        return None
    return float(not tried.ok) if tried.gap is None else min(max(tried.gap, 0.0), 1.0)


def verdict(seen: Seen, floor: float, audits: int, *, changed: bool) -> Verdict:
    """What is to become of a stage.

    Args:
        changed: A model of the namespace changed under its name since the stage began.
    """
    if changed or (seen.quality is not None and seen.quality.high < floor):
        return "back"
    if seen.audits >= audits and seen.quality is not None and seen.quality.low >= floor:
        return "promote"
    return "stay"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a namespace stands: the share of conversations that may get cheaper answers, and since when."""

    share: float
    since: float


def stage_in(memory: Memory, namespace: str, rollout: Rollout) -> Stage:
    """Where a namespace stands."""
    state = memory.policy_state(namespace, STATE)
    return Stage(rollout.stages[0] if state.threshold is None else state.threshold, state.since)


def move(memory: Memory, namespace: str, share: float, now: float) -> None:
    """Put a namespace at a share, whatever audits say of it."""
    SHARE("share", share)
    step = PolicyStep(namespace, 0.0, start=share, at=now, model=STATE, changed=now)
    memory.write(Batch(steps=(step,)))


class Steering:
    """Lets decisions through or holds them back, and moves the stages. Any thread may use it.

    Args:
        floor_of: The floor of a namespace.
        every: Lessons between two looks at a namespace's audits.
    """

    def __init__(
        self,
        rollout: Rollout,
        memory: Memory,
        floor_of: Callable[[str], float],
        clock: Callable[[], float] = time.time,
        every: int = 20,
    ) -> None:
        self.rollout, self._memory, self._floor_of, self._clock, self._every = rollout, memory, floor_of, clock, every
        self._known: dict[str, tuple[float, Stage]] = {}
        self._lessons: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()

    def stage(self, namespace: str) -> Stage | None:
        """Where a namespace stands; None where `follow` is to look first."""
        known = self._known.get(namespace)
        return None if known is None or time.monotonic() - known[0] > _FOLLOWED else known[1]

    def follow(self, namespace: str) -> Stage:
        """Look in the memory where a namespace stands."""
        if len(self._known) > _NAMESPACES:
            self._known.clear()
        stage = stage_in(self._memory, namespace, self.rollout)
        self._known[namespace] = time.monotonic(), stage
        return stage

    def admitted(self, request: Request, stage: Stage, choice: Choice, chance: float) -> Choice:
        """The choice, or the strong model's answer where the request's conversation has no part in the rollout yet.

        Args:
            stage: Of the request's namespace.
            chance: A random number from 0 to 1, which decides whether what is held back is tried.
        """
        if isinstance(choice, Route) and choice.model == STRONG:
            return choice
        if self._bucket(request) < stage.share:
            return choice
        if not isinstance(choice, Route):
            if choice.by is None:
                return Route(STRONG, reason=REASON)
            choice = choice.by  # the draft is judged by the strong answer
        tried = chance < self.rollout.looks and request.learn
        return replace(
            choice, model=STRONG, guide=None, messages=None, reason=REASON, check=False,
            instead_of=choice.arm if tried else None, chance=self.rollout.looks if tried else 0.0,
        )  # fmt: skip

    def learned(self, event: Learned) -> None:
        """An observer's method: look at the audits now and then."""
        namespace = event.facts.namespace
        with self._lock:
            self._lessons[namespace] += 1
            due = self._lessons[namespace] >= self._every
            if due:
                self._lessons[namespace] = 0
        if due and self.rollout.automatic:
            self.look(namespace)

    def look(self, namespace: str) -> Verdict:
        """Move a namespace to the stage that its audits call for."""
        stage = stage_in(self._memory, namespace, self.rollout)
        told = verdict(
            seen_of(facts_since(self._memory, namespace, stage.since)), self._floor_of(namespace), self.rollout.audits,
            changed=self._changed(namespace, stage.since),
        )  # fmt: skip
        share = {"promote": self.rollout.next, "back": self.rollout.before}.get(told, lambda same: same)(stage.share)
        if share != stage.share:
            move(self._memory, namespace, share, self._clock())
            self._known.pop(namespace, None)
        return told

    def _bucket(self, request: Request) -> float:
        """Where a conversation falls, from 0 to 1: the same for all that it asks, in every process."""
        who = request.thread or request.user
        begun = next((message.text for message in request.messages if message.role == "user"), "")
        digest = keyed_digest(self._memory.secret, f"rollout\0{request.namespace}\0{who or begun}")
        return int(digest[:13], 16) / 16**13

    def _changed(self, namespace: str, since: float) -> bool:
        """Whether a model changed under its name in this stage."""
        models = (spend.model_id for spend in self._memory.spending() if spend.namespace == namespace)
        return since > 0.0 and any(self._memory.policy_state(namespace, id).since > since for id in set(models))


def facts_since(memory: Memory, namespace: str, since: float) -> Sequence[DecisionFacts]:
    """The facts of a namespace's decisions since then, the newest."""
    records: Sequence[DecisionRecord] = memory.decisions(namespace=namespace, since=since, limit=_MOST)
    return [read_facts(record.facts) for record in records]


def described(rollout: Rollout, stage: Stage, seen: Seen, floor: float) -> Mapping[str, object]:
    """A stage in plain facts, JSON-able."""
    quality = seen.quality
    return {
        "share": stage.share,
        "since": stage.since,
        "stages": list(rollout.stages),
        "floor": floor,
        "quality": None if quality is None else {"value": quality.value, "low": quality.low, "high": quality.high},
        "audits": seen.audits,
        "needed": rollout.audits,
        "decided": seen.decided,
    }
