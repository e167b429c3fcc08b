"""Pairs of answers that a judge compared, held for a while so that a person can grade some of them.

They stay in the process. Nothing of their texts is stored but what a caller writes to a file of its own.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import TypeAlias

from rar.answers import shown
from rar.facts import read_facts
from rar.forking import Lock
from rar.learning.shadow import Findings
from rar.memory.base import DecisionRecord, Label
from rar.memory.forgetting import Gone
from rar.values import Decision, Reply, Route

MOST = 100  # pairs of one stratum that are held, the newest
LONGEST = 20_000  # characters of each text
_Stratum: TypeAlias = tuple[str, bool, bool]  # namespace, whether chance drew it, whether the judge saw no difference


@dataclass(frozen=True, slots=True)
class Pair:
    """A weak and a strong answer to one request, and what a judge said of them.

    Args:
        model: The weak one's name among the router's models.
        judged, expected, drawn, weight: As those of a `Label`.
        question, weak, strong: The texts; empty where they are not known any more.
    """

    decision_id: str
    namespace: str
    experience_id: str
    model: str
    weak_id: str
    strong_id: str
    judge: str
    judged: float
    expected: float | None = None
    drawn: bool = False
    weight: float = 1.0
    question: str = field(default="", repr=False)
    weak: str = field(default="", repr=False)
    strong: str = field(default="", repr=False)

    @property
    def agreed(self) -> bool:
        """Whether the judge saw no loss."""
        return self.judged <= 0.0

    def graded(self, weak: float, strong: float, at: float) -> Label:
        """What a person said of it."""
        return Label(
            self.decision_id, self.namespace, self.experience_id, self.weak_id, self.strong_id, self.judge,
            self.judged, weak, strong, at, self.expected, self.drawn, self.weight,
        )  # fmt: skip


def pair_of(record: DecisionRecord) -> Pair | None:
    """What a stored decision says of a pair, without its texts; None where nothing was judged."""
    facts = read_facts(record.facts)
    evidence = facts.evidence
    if facts.learned is None or not facts.learned.attempts or evidence is None or not record.experience_id:
        return None
    first = facts.learned.attempts[0]
    weak_id = evidence.models.get(first.model) or (evidence.pair or ("", ""))[0]
    return Pair(
        record.id, record.namespace, record.experience_id, first.model, weak_id,
        evidence.models.get("strong", ""), first.judge, first.gap if first.gap is not None else 1.0 - first.ok,
        evidence.learned_gap, first.drawn, question=facts.question or "",
    )  # fmt: skip


def judged_pair(found: Findings, decision: Decision, served: Reply) -> Pair | None:
    """The first pair that a judge compared for a decision; None where it compared none."""
    request, choice, evidence = decision.request, decision.choice, decision.request.evidence
    if evidence is None or not found.attempts:
        return None
    first = found.attempts[0]
    standing, strong = evidence.of(first.model), found.answer or served
    if standing is None or first.reply is None:
        return None
    chance = choice.chance if isinstance(choice, Route) and first.drawn else 1.0
    return Pair(
        decision.id, request.namespace, evidence.experience_id, first.model, standing.model_id, evidence.reference_id,
        first.judge, first.gap_or_verdict, standing.learned, first.drawn, 1.0 / (chance or 1.0),
        question=request.key or "", weak=shown(first.reply), strong=shown(strong),
    )  # fmt: skip


class Pairs:
    """The newest pairs, apart by what they are a sample of. Any thread may call."""

    def __init__(self, seed: int | None = None) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - guards nothing
        self._held: dict[_Stratum, deque[Pair]] = {}
        self._seen: dict[_Stratum, float] = {}  # requests that the pairs of a stratum stood for, all in all
        self._lock = Lock()

    def add(self, pair: Pair) -> None:
        stratum = (pair.namespace, pair.drawn, pair.agreed)
        cut = {name: getattr(pair, name)[:LONGEST] for name in ("question", "weak", "strong")}
        with self._lock:
            self._held.setdefault(stratum, deque(maxlen=MOST)).append(replace(pair, **cut))
            self._seen[stratum] = self._seen.get(stratum, 0.0) + pair.weight

    def sample(self, namespace: str, count: int) -> list[Pair]:
        """Up to `count` at random, each weighted by what it stands for.

        Agreements and refusals equally, since each errs in its own way; of those that chance drew twice as many, since
        they are what is served.
        """
        with self._lock:
            left = {
                stratum: self._chance.sample(list(pairs), len(pairs))
                for stratum, pairs in self._held.items()
                if stratum[0] == namespace
            }
            seen = dict(self._seen)
        taken: dict[_Stratum, list[Pair]] = {}
        order = [(namespace, drawn, agreed) for drawn in (True, True, False) for agreed in (True, False)]
        for stratum in cycle(order):
            if sum(map(len, taken.values())) >= count or not any(left.values()):
                break
            if left.get(stratum):
                taken.setdefault(stratum, []).append(left[stratum].pop())
        weighted = [
            replace(pair, weight=seen[stratum] / len(pairs)) for stratum, pairs in taken.items() for pair in pairs
        ]
        mean = sum(pair.weight for pair in weighted) / max(len(weighted), 1)
        found = [replace(pair, weight=pair.weight / mean) for pair in weighted]
        self._chance.shuffle(found)
        return found

    def get(self, decision_id: str) -> Pair | None:
        return next((pair for pair in self._all() if pair.decision_id == decision_id), None)

    def drop(self, decision_id: str) -> None:
        """Let go of a pair that was graded."""
        self._keep(lambda pair: pair.decision_id != decision_id)

    def forget(self, gone: Gone) -> None:
        """Let go of what was deleted."""
        self._keep(lambda pair: not gone(pair.namespace, pair.experience_id))

    def _keep(self, kept: Callable[[Pair], bool]) -> None:
        with self._lock:
            for stratum, pairs in self._held.items():
                self._held[stratum] = deque(filter(kept, pairs), maxlen=MOST)

    def _all(self) -> Iterator[Pair]:
        with self._lock:
            held = [pair for pairs in self._held.values() for pair in pairs]
        return iter(held)
