"""A memory in dictionaries: what a backend has to write itself, where `rar.memory.transitions` has the rules."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rar.errors import ClosedError, DimensionError, EmbedderMismatchError
from rar.memory import kept
from rar.memory import transitions as rules
from rar.memory.base import (
    Batch,
    CachedAnswer,
    Changes,
    DecisionRecord,
    JudgedAnswers,
    Label,
    Memory,
    MemoryStats,
    PolicyState,
    Spend,
)
from rar.memory.exchange import DaySpend, Header, Item, KeptGuide, KeptPolicy, to_record
from rar.memory.forgetting import Forget, Gone, answers_key, namespace_key
from rar.memory.loading import items_of
from rar.memory.pairing import Paired, paired
from rar.values import Experience, Guide, GuideMatch, GuideState, Match, Tally, Trial, Vector

NO_VECTOR: Vector = np.empty(0, np.float32)


@dataclass
class State:
    """All that a memory holds. Its values are replaced and never changed, so copied dictionaries are a copy of it."""

    header: Header = field(default_factory=lambda: Header("", 0))
    seq: int = 0
    epoch: int = 0
    experiences: dict[str, Experience] = field(default_factory=dict)
    until: dict[str, float] = field(default_factory=dict)  # by experience: how long it counts as used
    guides: dict[str, Guide] = field(default_factory=dict)
    log: dict[str, int] = field(default_factory=dict)  # by id: when it was last written
    touched: dict[str, int] = field(default_factory=dict)  # by id: when it was last written or tried
    deleted: dict[str, int] = field(default_factory=dict)
    forgotten: dict[str, int] = field(default_factory=dict)  # by what was deleted: at which epoch
    policy: dict[tuple[str, str], PolicyState] = field(default_factory=dict)
    spending: dict[tuple[Any, ...], Spend] = field(default_factory=dict)  # by day, and by what it is summed by
    decisions: dict[str, DecisionRecord] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)  # by decision
    judged: dict[tuple[str, int], JudgedAnswers] = field(default_factory=dict)  # by decision and attempt
    cached: dict[tuple[str, str], CachedAnswer] = field(default_factory=dict)  # by namespace and key
    evicted: Counter[str] = field(default_factory=Counter)
    effects: set[str] = field(default_factory=set)
    claims: dict[str, tuple[str, float]] = field(default_factory=dict)  # owner, and until when

    def copied(self) -> State:
        return State(**{name: copy(value) for name, value in vars(self).items()})


class DictMemory(Memory):
    """A memory of one process that ends with it. Each write makes a copy, and takes its place if all went well."""

    where = "dictionaries"

    def __init__(self, cap: int = 100_000, clock: Callable[[], float] = time.time) -> None:
        self._cap, self._clock, self._secret = cap, clock, os.urandom(32)
        self._state: State | None = State()
        self._writing = threading.RLock()
        self._forgetting: list[weakref.WeakMethod[Forget]] = []

    @property
    def secret(self) -> bytes:
        return self._secret

    @property
    def epoch(self) -> int:
        return self._now().epoch

    def _now(self) -> State:
        if self._state is None:
            raise ClosedError("memory")
        return self._state

    @contextmanager
    def _next(self) -> Iterator[State]:
        with self._writing:
            state = self._now().copied()
            yield state
            for namespace in {one.namespace for one in state.experiences.values()}:
                held = [id for id, one in state.experiences.items() if one.namespace == namespace]
                many = rules.surplus(len(held), self._cap)
                for id in sorted(held, key=lambda id: (state.until[id], id))[:many]:
                    self._drop(state, id)
                    state.evicted[namespace] += 1
            self._state = state

    # ── writing ──

    def bind(self, embedder_id: str, dim: int) -> None:
        self._bind(self._now(), Header(embedder_id, dim))

    def _bind(self, state: State, given: Header) -> None:
        known = state.header
        if known.embedder_id not in ("", given.embedder_id) or known.dim not in (0, given.dim):
            found = f"{known.embedder_id!r} of {known.dim} dimensions, not {given.embedder_id!r} of {given.dim}"
            raise EmbedderMismatchError(self.where, found)
        state.header = given

    def write(self, batch: Batch) -> None:
        with self._next() as state:
            if batch.effect in state.effects:
                return
            state.effects |= {batch.effect} - {""}
            if batch.epoch is not None:
                gone = frozenset(key for key, epoch in state.forgotten.items() if epoch > batch.epoch)
                batch = Gone(self._secret, gone).without(batch)
            for experience in batch.experiences:
                self._experience(state, experience)
            for guide in batch.guides:
                self._guide(state, guide)
            for trial in batch.trials:
                self._trial(state, trial)
            for step in batch.steps:
                key = step.namespace, step.model
                state.policy[key] = rules.moved(state.policy.get(key, PolicyState()), step)
            for spend in batch.spending:
                self._spend(state, int(self._clock() // rules.DAY), spend)
            for record in batch.decisions:
                self._decision(state, record)
            state.labels |= {label.decision_id: label for label in batch.labels}
            for judged in batch.judged:
                self._judged(state, judged)
            for answer in batch.cached:
                self._cached(state, answer)

    def applied(self, effect: str) -> bool:
        return effect in self._now().effects

    def claim(self, key: str, owner: str, seconds: float) -> bool:
        with self._next() as state:
            had, until = state.claims.get(key, (owner, 0.0))
            if had != owner and until > time.time():
                return False
            state.claims[key] = owner, time.time() + seconds
            return True

    def release(self, key: str, owner: str) -> None:
        with self._next() as state:
            if state.claims.get(key, ("", 0.0))[0] == owner:
                del state.claims[key]

    def _experience(self, state: State, new: Experience) -> None:
        self._check(state, new.embedding)
        known = state.experiences.get(new.id)
        kept = new if known is None else rules.replaced(known, new)
        trials = sum(tally.ok + tally.bad for tally in kept.tallies)
        state.until[new.id] = rules.kept_until(state.until.get(new.id, 0.0), new.updated_at, trials)
        state.experiences[new.id] = kept
        self._logged(state, new.id)

    def _guide(self, state: State, new: Guide) -> None:
        self._check(state, new.embedding)
        known = state.guides.get(new.id)
        state.guides[new.id] = new if known is None else rules.replaced_guide(known, new)
        self._logged(state, new.id)

    def _trial(self, state: State, trial: Trial) -> None:
        known, guide = state.experiences.get(trial.experience_id), state.guides.get(trial.guide_id or "")
        if known is None or (guide is None and trial.guide_id is not None):
            return
        new = rules.tally_of(trial)
        tallies = {_key(tally): tally for tally in known.tallies}
        tallies[_key(new)] = rules.merged(tallies.get(_key(new)), new)
        state.experiences[known.id] = replace(known, tallies=tuple(tallies[key] for key in sorted(tallies)))
        count = sum(tally.ok + tally.bad for tally in tallies.values())
        state.until[known.id] = rules.kept_until(state.until[known.id], max(known.updated_at, trial.at), count)
        self._touch(state, known.id)
        if guide is not None:
            own = trial.experience_id == guide.origin
            self._counted(state, rules.tried(guide, ok=trial.ok, own=own, paired=_paired(state, guide)))

    def _counted(self, state: State, guide: Guide) -> None:
        before, state.guides[guide.id] = state.guides[guide.id], guide
        self._touch(state, guide.id)
        if before.state != guide.state:
            self._logged(state, guide.id)

    def _spend(self, state: State, day: int, spend: Spend, *, anew: bool = False) -> None:
        key = (day, *(getattr(spend, name) for name in rules.SPENT_ON))
        state.spending[key] = rules.added(None if anew else state.spending.get(key), spend)

    def _decision(self, state: State, record: DecisionRecord) -> None:
        state.decisions[record.id] = record
        if rules.went_by(record) and record.experience_id in state.until:
            state.until[record.experience_id] = rules.used_until(state.until[record.experience_id], record.at)

    def _judged(self, state: State, judged: JudgedAnswers) -> None:
        key = judged.decision_id, judged.place
        state.judged.pop(key, None)
        state.judged[key] = judged
        for old in list(state.judged)[: -kept.KEPT_JUDGED]:
            del state.judged[old]

    def _cached(self, state: State, answer: CachedAnswer) -> None:
        state.cached.pop((answer.namespace, answer.key), None)
        state.cached[answer.namespace, answer.key] = answer
        here = [one for one in state.cached.values() if one.namespace == answer.namespace]
        late = [one for one in here if one.until is not None and one.until <= answer.used_at]
        left = sorted((one for one in reversed(here) if one not in late), key=lambda one: -one.used_at)
        for one in (*late, *left[answer.room :]):
            del state.cached[one.namespace, one.key]

    def _check(self, state: State, vector: Vector) -> None:
        if not state.header.dim and vector.ndim == 1:
            state.header = Header(state.header.embedder_id, len(vector))
        if vector.shape != (state.header.dim,):
            raise DimensionError(self.where, f"they have {state.header.dim} numbers, this one has {vector.shape}")

    def _touch(self, state: State, id: str) -> None:
        state.seq += 1
        state.touched[id] = state.seq

    def _logged(self, state: State, id: str) -> None:
        self._touch(state, id)
        state.log.pop(id, None)
        state.log[id] = state.seq
        state.deleted.pop(id, None)

    def _drop(self, state: State, id: str) -> bool:
        found = [held.pop(id, None) for held in (state.experiences, state.guides)]
        if not any(one is not None for one in found):
            return False
        for held in (state.until, state.log, state.touched):
            held.pop(id, None)
        state.seq += 1
        state.deleted[id] = state.seq
        return True

    def set_guide_state(self, id: str, state: GuideState, *, anyway: bool = False) -> None:
        with self._next() as now:
            if id not in now.guides:
                raise LookupError(f"No guide {id!r} is known.")
            self._counted(now, rules.decided(now.guides[id], state, anyway=anyway))

    def delete(self, *, ids: Sequence[str] = (), namespace: str | None = None) -> int:
        keys = [*ids, *([] if namespace is None else [namespace_key(self._secret, namespace)])]
        with self._next() as state:
            state.epoch += 1
            state.forgotten |= dict.fromkeys(keys, state.epoch)
            held = [*state.experiences.values(), *state.guides.values()]
            gone = [*ids, *(one.id for one in held if one.namespace == namespace)]
            count = sum(self._drop(state, id) for id in gone)
            for name, about in list(state.decisions.items()):
                if about.experience_id in ids or about.namespace == namespace:
                    del state.decisions[name]
            state.labels = {
                name: label
                for name, label in state.labels.items()
                if label.experience_id not in ids and label.namespace != namespace
            }
            self._drop_answers(state, lambda one: one.experience_id in ids or one.namespace == namespace)
            state.policy = {key: value for key, value in state.policy.items() if key[0] != namespace}
            state.spending = {key: one for key, one in state.spending.items() if one.namespace != namespace}
        self._tell(keys)
        return count

    def drop_answers(self, namespace: str | None = None) -> int:
        key = answers_key(self._secret, namespace)
        with self._next() as state:
            state.epoch += 1
            state.forgotten[key] = state.epoch
            count = self._drop_answers(state, lambda one: namespace in (None, one.namespace))
        self._tell([key])
        return count

    def _drop_answers(self, state: State, gone: Callable[[JudgedAnswers | CachedAnswer], bool]) -> int:
        before = len(state.judged) + len(state.cached)
        state.judged = {key: one for key, one in state.judged.items() if not gone(one)}
        state.cached = {key: one for key, one in state.cached.items() if not gone(one)}
        return before - len(state.judged) - len(state.cached)

    def _tell(self, keys: Sequence[str]) -> None:
        for forget in [alive() for alive in self._forgetting]:
            if forget is not None:
                forget(Gone(self._secret, frozenset(keys)))

    def watch(self, forget: Forget) -> None:
        self._forgetting.append(weakref.WeakMethod(forget))

    def load(self, records: Iterable[Mapping[str, Any]]) -> int:
        with self._next() as state:
            items = list(items_of(records, self.where, self._secret, lambda header: self._bind(state, header)))
            for item in items:
                self._put(state, item)
        return len(items)

    def _put(self, state: State, item: Item) -> None:
        if isinstance(item, Experience):
            self._drop(state, item.id)
            self._experience(state, item)
        elif isinstance(item, KeptGuide):
            self._drop(state, item.guide.id)
            self._guide(state, rules.admitted(item, _paired(state, item.guide).helped))
        elif isinstance(item, KeptPolicy):
            state.policy[item.namespace, item.model] = item.state
        elif isinstance(item, DaySpend):
            self._spend(state, item.day, item.spend, anew=True)
        elif isinstance(item, Label):
            state.labels[item.decision_id] = item
        elif isinstance(item, JudgedAnswers):
            self._judged(state, item)
        else:
            self._decision(state, item)

    def close(self) -> None:
        self._state = None

    # ── reading ──

    def search(self, embedding: Vector, *, namespace: str, task: str, limit: int = 16) -> list[Match]:
        state = self._now()
        held = [one for one in state.experiences.values() if (one.namespace, one.task) == (namespace, task)]
        near = self._nearest(state, embedding, held, limit)
        return [Match(replace(one, embedding=NO_VECTOR), similarity) for similarity, one in near]

    def search_guides(
        self,
        embedding: Vector,
        *,
        namespace: str,
        task: str,
        limit: int = 3,
        states: Sequence[GuideState] = ("active",),
    ) -> list[GuideMatch]:
        state = self._now()
        held = [
            one
            for one in state.guides.values()
            if (one.namespace, one.task) == (namespace, task) and one.state in states
        ]
        return [GuideMatch(one, similarity) for similarity, one in self._nearest(state, embedding, held, limit)]

    def _nearest(self, state: State, embedding: Vector, held: list[Any], limit: int) -> list[tuple[float, Any]]:
        if state.header.dim and embedding.shape != (state.header.dim,):
            raise DimensionError(self.where, f"they have {state.header.dim} numbers, the query has {embedding.shape}")
        found = [(_cosine(embedding, one.embedding), one) for one in held]
        return sorted(found, key=lambda entry: (-entry[0], entry[1].id))[:limit]

    def experience(self, id: str) -> Experience | None:
        return self._now().experiences.get(id)

    def guide(self, id: str) -> Guide | None:
        return self._now().guides.get(id)

    def experiences(self, *, namespace: str, task: str, limit: int = 20_000) -> list[Experience]:
        state = self._now()
        held = [one for one in state.experiences.values() if (one.namespace, one.task) == (namespace, task)]
        return sorted(held, key=lambda one: -state.touched[one.id])[:limit]

    def guides(self, *, namespace: str | None = None, states: Sequence[GuideState] | None = None) -> list[Guide]:
        held = [one for one in self._now().guides.values() if namespace in (None, one.namespace)]
        return sorted(
            (one for one in held if states is None or one.state in states), key=lambda g: (g.created_at, g.id)
        )

    def changes(self, since: int = 0, limit: int = 5_000, *, began: int = 0) -> Changes:
        state = self._now()
        if since > state.seq:
            return Changes(0, more=True, reset=True, end=state.seq)
        news = sorted((seq, id) for ids in (state.log, state.deleted) for id, seq in ids.items() if seq > since)
        cursor = news[limit - 1][0] if len(news) >= limit else state.seq
        page = [id for seq, id in news if seq <= cursor]
        return Changes(
            cursor,
            tuple(state.experiences[id] for id in page if id in state.experiences),
            tuple(state.guides[id] for id in page if id in state.guides),
            tuple(id for id in page if id in state.deleted) if since else (),
            more=cursor < state.seq,
            end=state.seq,
        )

    def policy_state(self, namespace: str, model: str = "") -> PolicyState:
        return self._now().policy.get((namespace, model), PolicyState())

    def spending(self, namespace: str | None = None, *, since: float = 0.0) -> list[Spend]:
        held = self._now().spending.items()
        return rules.summed(
            spend for key, spend in held if key[0] >= since // rules.DAY and namespace in (None, spend.namespace)
        )

    def decision(self, id: str) -> DecisionRecord | None:
        return self._now().decisions.get(id)

    def decisions(
        self, *, namespace: str | None = None, since: float = 0.0, until: float | None = None, limit: int = 1_000
    ) -> list[DecisionRecord]:
        held = [one for one in self._now().decisions.values() if namespace in (None, one.namespace)]
        held = [one for one in held if one.at >= since and (until is None or one.at <= until)]
        return sorted(held[::-1], key=lambda one: -one.at)[:limit]  # noqa: C415 - of equals, the last comes first

    def labels(self, namespace: str | None = None) -> list[Label]:
        held = [one for one in self._now().labels.values() if namespace in (None, one.namespace)]
        return sorted(held, key=lambda one: one.at)

    def judged_answers(self, namespace: str | None = None) -> Iterator[JudgedAnswers]:
        return (one for one in reversed(list(self._now().judged.values())) if namespace in (None, one.namespace))

    def cached_answer(self, namespace: str, key: str) -> CachedAnswer | None:
        return self._now().cached.get((namespace, key))

    def cached_near(self, namespace: str, kind: str, experience_ids: Sequence[str]) -> list[CachedAnswer]:
        held = self._now().cached.values()
        here = [one for one in held if (one.namespace, one.kind) == (namespace, kind)]
        return [one for one in here if one.experience_id in experience_ids]

    def stats(self, namespace: str | None = None) -> MemoryStats:
        state = self._now()
        experiences = [one for one in state.experiences.values() if namespace in (None, one.namespace)]
        decisions = [one for one in state.decisions.values() if namespace in (None, one.namespace)]
        named = [
            *state.experiences.values(),
            *state.guides.values(),
            *state.spending.values(),
            *state.decisions.values(),
            *state.labels.values(),
            *state.judged.values(),
            *state.cached.values(),
        ]
        names = {one.namespace for one in named} | {key[0] for key in state.policy}
        codes = [record.facts.get("not_learned") for record in decisions]
        return MemoryStats(
            experiences=len(experiences),
            guides=dict(Counter(guide.state for guide in self.guides(namespace=namespace))),
            trials=sum(tally.ok + tally.bad for one in experiences for tally in one.tallies),
            decisions=len(decisions),
            evicted=sum(count for name, count in state.evicted.items() if namespace in (None, name)),
            namespaces=tuple(sorted(name for name in names if namespace in (None, name))),
            embedder_id=state.header.embedder_id,
            dim=state.header.dim,
            not_learned=dict(Counter(code for code in codes if isinstance(code, str))),
        )

    def export(self, namespace: str | None = None) -> Iterator[dict[str, Any]]:
        state = self._now()
        yield to_record(state.header)
        items: list[Item] = [state.experiences[id] for id in state.log if id in state.experiences]
        items += [KeptGuide(guide, guide.pinned) for guide in state.guides.values()]
        for item in items:
            if namespace in (None, (item.guide if isinstance(item, KeptGuide) else item).namespace):
                yield to_record(item)
        for (name, model), policy in state.policy.items():
            if namespace in (None, name):
                yield to_record(KeptPolicy(name, policy, model))
        for key, spend in state.spending.items():
            if namespace in (None, spend.namespace):
                yield to_record(DaySpend(key[0], spend))
        for one in (*state.decisions.values(), *state.labels.values(), *state.judged.values()):
            if namespace in (None, one.namespace):
                yield to_record(one)


def _key(tally: Tally) -> tuple[str, str, str]:
    return tally.guide_id or "", tally.weak_id, tally.strong_id


def _paired(state: State, guide: Guide) -> Paired:
    """What a guide came to on requests other than its own, beside the same model alone."""
    others = [one for one in state.experiences.values() if one.id != guide.origin]
    return paired(guide, ((one.embedding, one.tallies) for one in others))


def _cosine(one: Vector, other: Vector) -> float:
    norms = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    if not 0.0 < norms < np.inf:
        return 0.0
    return min(max(round(float(one @ other) / norms, 6), -1.0), 1.0)
