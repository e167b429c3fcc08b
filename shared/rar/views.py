"""What can be seen of a router: counts and spending, decisions and why they were made, the report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from rar.ceilings import Ceilings
from rar.errors import ConfigurationError, UnknownDecisionError
from rar.facts import DecisionFacts, NeighbourFact, read_facts
from rar.learning.floor import Held, all_held
from rar.learning.labels import Audited, JudgeStats, correction, errors, kept, reference_quality
from rar.learning.loop import LearningLoop
from rar.learning.records import Served, record_of
from rar.ledger import Ledger
from rar.memory.base import DecisionRecord, Memory, MemoryStats, Spend
from rar.namespaces import NamespaceStats, namespace_stats
from rar.recent import Recent
from rar.savings import Savings, merge, savings
from rar.values import STRONG, Experience, Guide
from rar.words import in_words

if TYPE_CHECKING:
    from rar.report import Report


@dataclass(frozen=True, slots=True)
class RouterStats:
    """What a router did so far. `spending` and `savings` include what its memory holds from before."""

    memory: MemoryStats | None
    spending: tuple[Spend, ...]
    savings: Savings
    waiting: int  # lessons not learned yet
    dropped: int  # lessons given up because too many were waiting
    learning: str  # its mode, or "paused: …", and why, while the memory cannot be written
    paused: int  # decisions in the memory from which nothing was learned because the budget was spent
    undecided: int  # the same, because no judge could tell
    unpriced: int  # calls without a known price
    estimated: int  # calls whose tokens were estimated from the text because the provider reported none
    judge: JudgeStats | None = None  # None without a memory
    unstored: int = 0  # batches of decisions and lessons that the memory has not taken yet
    lost: int = 0  # batches that could never be stored, or that were too many to keep
    quality: Mapping[str, Mapping[str, Held]] = field(default_factory=dict)
    """What audits say of what is served of late, by namespace, to new requests ("new") and to repeats ("again")."""
    namespaces: Mapping[str, NamespaceStats] = field(default_factory=dict)
    waited: float = 0.0  # seconds that the lesson which has waited longest has waited
    behind: float = 0.0  # seconds that what the memory has not taken yet has waited
    ceilings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """USD left under each spending ceiling, by its text and by namespace; `""` is all of them."""

    def as_dict(self) -> dict[str, Any]:
        facts = asdict(self)
        facts["savings"]["net_share"] = self.savings.net_share
        return facts


@dataclass(frozen=True)
class Views:
    """Looks at the parts of one router; changes nothing. Any thread may call it.

    Args:
        learning: None where there is no memory.
        floor_of: Gives the share of the strong model's quality to keep in a namespace; None where none is stated.
    """

    memory: Memory | None
    ledger: Ledger
    learning: LearningLoop | None
    recent: Recent
    floor_of: Callable[[str | None], float | None]
    clock: Callable[[], float]
    ceilings: Ceilings | None = None

    def stats(self) -> RouterStats:
        stored = self.memory.spending() if self.memory is not None else []
        spending = merge(stored, self.ledger.pending())
        held = self.memory.stats() if self.memory is not None else None
        worker, writer = (self.learning.worker, self.learning.writer) if self.learning else (None, None)
        not_learned = held.not_learned if held is not None else {}
        mode = worker.mode if worker else "off"
        return RouterStats(
            memory=held,
            spending=tuple(spending),
            savings=savings(spending, self.ledger.prices),
            waiting=worker.waiting if worker else 0,
            dropped=worker.dropped if worker else 0,
            learning=f"paused: {writer.paused}" if writer and writer.paused else mode,
            paused=not_learned.get("budget", 0),
            undecided=not_learned.get("undecided", 0),
            unpriced=sum(spend.unpriced for spend in spending),
            estimated=sum(spend.estimated for spend in spending),
            judge=judge_stats(self.memory, held, spending) if self.memory is not None and held is not None else None,
            unstored=writer.waiting if writer else 0,
            lost=writer.lost if writer else 0,
            quality=self._quality(held.namespaces) if held is not None else {},
            namespaces=self._namespaces(held.namespaces, spending) if held is not None else {},
            waited=self.learning.age(self.clock()) if self.learning else 0.0,
            behind=writer.behind if writer else 0.0,
            ceilings=self._ceilings({spend.namespace for spend in spending}),
        )

    def _quality(self, namespaces: Sequence[str]) -> dict[str, dict[str, Held]]:
        assert self.memory is not None
        found = {name: all_held(partial(self.memory.policy_state, name)) for name in namespaces}
        return {name: kinds for name, kinds in found.items() if kinds}

    def _namespaces(self, names: Sequence[str], spending: Sequence[Spend]) -> dict[str, NamespaceStats]:
        assert self.memory is not None
        spent: dict[str, list[Spend]] = {name: [] for name in names}
        for spend in spending:
            spent.setdefault(spend.namespace, []).append(spend)
        now = self.clock()
        return {
            name: namespace_stats(self.memory, name, sums, self.ledger, self.floor_of(name), now)
            for name, sums in spent.items()
        }

    def _ceilings(self, namespaces: Collection[str]) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        for (ceiling, name), usd in (self.ceilings.left(namespaces) if self.ceilings else {}).items():
            found.setdefault(ceiling, {})[name] = usd
        return found

    def decisions(self, limit: int) -> list[dict[str, Any]]:
        return [dict(record.facts) for record in self.memory.decisions(limit=limit)] if self.memory is not None else []

    def report(self, namespace: str | None, days: float | None) -> Report:
        """What became of the calls that the memory keeps.

        Raises:
            ConfigurationError: There is no memory, or `days` is not above 0.
        """
        from rar.report import report

        if self.memory is None:
            raise ConfigurationError("This router has no memory to report on. Pass `memory=` to the router.")
        prices, now, floor = self.ledger.prices, self.clock(), self.floor_of(namespace)
        return report(self.memory, namespace=namespace, days=days, prices=prices, quality=floor, now=now)

    def explain(self, decision_id: str) -> dict[str, Any]:
        """Why a decision was made and what was learned from it.

        Raises:
            UnknownDecisionError: No such decision is known, here or in the memory.
        """
        return explained(self.record(decision_id), self.memory).as_dict()

    def record(self, decision_id: str) -> DecisionRecord:
        """A decision as the memory keeps it, or would.

        Raises:
            UnknownDecisionError: No such decision is known, here or in the memory.
        """
        record = self.memory.decision(decision_id) if self.memory is not None else None
        if record is not None:
            return record
        decision = self.recent.get(decision_id)
        if decision is None:
            raise UnknownDecisionError(decision_id)
        code = self.learning.learns_not if self.learning else "off"
        store_text = self.learning is None or self.learning.learner.store_text
        return record_of(Served(decision, not_learned=code or "not_served"), store_text=store_text)


def judge_stats(memory: Memory, held: MemoryStats, spending: Sequence[Spend]) -> JudgeStats:
    """What audits and people say of a memory's judge."""
    labels = memory.labels() if hasattr(memory, "labels") else []
    undecided = held.not_learned.get("undecided", 0)
    served = [spend for spend in spending if spend.purpose == "serve"]
    parts = []
    for spend in served:
        if spend.role == STRONG or spend.namespace not in held.namespaces:
            continue
        state = memory.policy_state(spend.namespace, spend.model_id)
        own = [label for label in labels if label.namespace == spend.namespace]
        reference = memory.policy_state(spend.namespace).reference
        parts.append(
            Audited(
                spend.calls, state.audits, state.errors,
                correction([label for label in own if label.weak_id == spend.model_id]),
                reference_quality(own, reference),
            )
        )  # fmt: skip
    quality = kept(parts, sum(spend.calls for spend in served)) or (None, None)
    asked = undecided + held.trials
    return JudgeStats(undecided / asked if asked else None, errors(labels), *quality)


@dataclass(frozen=True, slots=True)
class Explained:
    """A decision's facts, with the neighbours and the guide that the memory still holds."""

    facts: DecisionFacts
    neighbours: tuple[tuple[NeighbourFact, Experience | None], ...] = ()
    guide: Guide | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, with the same in words."""
        whole = self.facts.as_dict() | {"in_words": in_words(self.facts)}
        if self.neighbours:
            whole["neighbours"] = [_neighbour(fact, found) for fact, found in self.neighbours]
        if self.guide is not None:
            used = self.guide
            whole["guide"] = {
                "text": used.text, "state": used.state, "helpful": used.helpful, "harmful": used.harmful,
            }  # fmt: skip
        return whole


def explained(record: DecisionRecord, memory: Memory | None) -> Explained:
    """What there is to say of a decision."""
    facts = read_facts(record.facts)
    if memory is None:
        return Explained(facts)
    near = facts.evidence.neighbours if facts.evidence else ()
    guide = memory.guide(facts.guide_id) if facts.guide_id else None
    return Explained(facts, tuple((fact, memory.experience(fact.experience_id)) for fact in near), guide)


def _neighbour(fact: NeighbourFact, found: Experience | None) -> dict[str, Any]:
    tallies = found.tallies if found is not None else ()
    return {
        **asdict(fact),
        "text": found.text if found is not None else None,
        "tallies": [
            {"guide_id": t.guide_id, "weak_id": t.weak_id, "strong_id": t.strong_id, "ok": t.ok, "bad": t.bad}
            for t in tallies
        ],
    }
