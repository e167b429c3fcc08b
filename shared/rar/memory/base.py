"""The memory's protocol and records. `tests/contract/memory.py` is the definition that every backend passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from rar.memory.kept import CachedAnswer as CachedAnswer  # noqa: PLC0414 - records like those below
from rar.memory.kept import JudgedAnswers as JudgedAnswers  # noqa: PLC0414
from rar.memory.lessons import Once, PackedLesson
from rar.memory.recalling import Query, Recalled, recalled
from rar.memory.tills import Settled
from rar.values import Experience, Guide, GuideMatch, GuideState, Match, Purpose, Trial, Vector


@dataclass(frozen=True, slots=True)
class Spend:
    """Calls of one model for one purpose, summed.

    `usd` leaves out `unpriced` calls. The tokens of `estimated` calls were taken from the text in part.
    """

    namespace: str
    purpose: Purpose
    role: str  # "weak" or "strong"
    model_id: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0
    estimated: int = 0
    cached_tokens: int = 0  # of the input, read from a provider's cache
    prefix_tokens: int = 0  # more of them that would have been, had the strong model answered all


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A decision, kept for `feedback` and `explain`.

    Args:
        facts: `Decision.as_dict()` and what else explains it (neighbours, threshold); JSON-able, no secret.
    """

    id: str
    namespace: str
    at: float
    experience_id: str
    guide_id: str | None
    model: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Label:
    """How good a person found the two answers to a request that a judge had compared. One stands for each decision.

    Args:
        judged: The judge's gap, strong less weak quality; of one that only compares 0 where it agreed, else 1.
        weak, strong: Quality of each answer, from 0 to 1.
        expected: The gap that the learned score had expected, in the judge's terms; None where nothing was learned yet.
        drawn: The request was judged because chance chose it among what the weak model is trusted with.
        weight: How many of the judged requests it stands for, relative to other labels.
    """

    decision_id: str
    namespace: str
    experience_id: str
    weak_id: str
    strong_id: str
    judge: str
    judged: float
    weak: float
    strong: float
    at: float
    expected: float | None = None
    drawn: bool = False
    weight: float = 1.0

    @property
    def gap(self) -> float:
        """How much better the strong answer was."""
        return self.strong - self.weak


@dataclass(frozen=True, slots=True)
class PolicyStep:
    """One move of a namespace's threshold by a served answer; applied atomically, clipped to `[low, high]`.

    Args:
        model: Id of the model whose state moves; `""` for what holds of the whole namespace.
        audit: The answer was served by the weak model and judged; `error` if it did not agree with the strong one.
        residual: What an audit found the gap to be above the expected one; `bias` moves towards it by 1 in
            `audits` + `inertia`, at least 1 in 600.
        inertia: Audits that a bias of 0 counts for.
        confidence: Best that was expected of any cheaper model, by which `low` is followed.
        shadow: What an answer beside the reference model's, for want of trust, showed the gap to be above the expected.
        loss: What the served answer is expected to lose; None where the step tells nothing of it.
        cheaper: Whether a cheaper model served.
        reference: Quality of the strong answer; the mean moves towards it by 1 in 500.
        stands: Served requests that this one stands for, in that mean: more than one where chance had it judged.
        surprise: Log likelihood ratio of what a judged attempt showed, the weak model being worse than it was against
            its being as it was; a sum of them rings the alarm.
        at: When.
        changed: When a model of the namespace last changed under its name: a threshold from before begins anew.
    """

    namespace: str
    delta: float
    audit: bool = False
    error: bool = False
    start: float = 0.5  # the threshold of a namespace that has none yet
    low: float = 0.0
    high: float = 1.0
    residual: float | None = None
    reference: float | None = None
    surprise: float | None = None
    at: float = 0.0
    model: str = ""
    changed: float = 0.0
    inertia: float = 20.0
    confidence: float | None = None
    shadow: float | None = None
    loss: float | None = None
    cheaper: bool = False
    stands: float = 1.0


AGAIN = "again"  # the kind of requests that were seen before
GUIDED = "guided"  # and of answers with guides, which err in their own way


def state_of(model: str, kind: str = "") -> str:
    """Under which name the state of a part of what a model, or the namespace (`""`), answers is kept."""
    return f"{model}#{kind}" if kind else model


USUAL_SPREAD = 0.2  # mean square by which gaps of answers that are right or wrong are off
ALARM = 5.5  # of the sum of surprises: at the very least e^5.5 judged attempts lie between false ones


@dataclass(frozen=True, slots=True)
class PolicyState:
    """A moving threshold, and what judged answers told so far, kept for a namespace and for each model in it.

    The namespace's own (model `""`) holds the threshold, the calls that moved it and the reference. A model's holds
    what only its answers tell: audits, errors, bias, drift, and since when it has been as it is. New requests and
    those that were seen before have states of their own (`state_of`).

    Args:
        bias: Mean of what audits found gaps to be above what was expected.
        spread: Mean square of the same.
        low: A low quantile of the confidences of late: the threshold winds down no further.
        lost: Mean of what served answers are expected to lose, corrected by audits.
        share: Share of answers that a cheaper model served.
        late, usual: Mean of what shadows showed gaps to be above what was expected, lately and in the long run.
        shadows: How many there were.
        drift: Cumulative sum of surprises, never below 0 (Page 1954, Biometrika 41).
        quiet: When it last was 0: if the alarm rings, that is when the weak model is held to have changed.
        since: When it last changed so: trials before that prove nothing.
    """

    threshold: float | None = None  # None: not moved yet
    audits: int = 0
    errors: int = 0
    bias: float = 0.0
    reference: float = 1.0
    calls: int = 0
    drift: float = 0.0
    quiet: float = 0.0
    since: float = 0.0
    spread: float = USUAL_SPREAD
    low: float = 0.0
    lost: float = 0.0
    share: float = 0.0
    late: float = 0.0
    usual: float = 0.0
    shadows: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction writes, in this order. `a + b` joins two of one epoch.

    Args:
        deferred: Lessons for workers, where the memory has a queue for them (`rar.memory.queueing`).
        settled: What of the spending was reserved before (`rar.memory.tills`).
        epoch: The memory's `epoch` when this was decided; what was deleted since is not written again. None: written
            whatever was deleted.
        effect: A name for what this batch does, which is done once: where a batch of the same name was written before,
            nothing is. Such a batch is joined with no other.
    """

    experiences: tuple[Experience, ...] = ()
    guides: tuple[Guide, ...] = ()
    trials: tuple[Trial, ...] = ()
    steps: tuple[PolicyStep, ...] = ()
    spending: tuple[Spend, ...] = ()
    decisions: tuple[DecisionRecord, ...] = ()
    labels: tuple[Label, ...] = ()
    judged: tuple[JudgedAnswers, ...] = ()
    cached: tuple[CachedAnswer, ...] = ()
    deferred: tuple[PackedLesson, ...] = ()
    settled: tuple[Settled, ...] = ()
    epoch: int | None = None
    effect: str = ""

    def __add__(self, other: Batch) -> Batch:
        if self.effect or other.effect:
            raise ValueError("A batch with an effect is written by itself.")
        if self.epoch != other.epoch:
            raise ValueError(f"Batches of epochs {self.epoch} and {other.epoch} cannot be written at once.")
        both = {name: getattr(self, name) + getattr(other, name) for name in _RECORDS}
        return Batch(**both, epoch=self.epoch)

    def __bool__(self) -> bool:
        return bool(self.effect) or any(getattr(self, name) for name in _RECORDS)


_RECORDS = tuple(field.name for field in fields(Batch) if field.name not in {"epoch", "effect"})


@dataclass(frozen=True, slots=True)
class Changes:
    """What a read model needs to follow the log: upserts and deletions after a cursor, oldest first.

    Experiences and guides carry their embeddings and no tallies; a record changed twice appears once. A trial is no
    change here, unless it moves its guide's state. After `reset` a follower drops all that it knows and starts at 0.
    """

    cursor: int
    experiences: tuple[Experience, ...] = ()
    guides: tuple[Guide, ...] = ()
    deleted: tuple[str, ...] = ()
    more: bool = False  # there is more after `cursor`: ask again
    reset: bool = False  # the log does not reach back to the cursor that was given, or was replaced
    end: int = field(default=0, compare=False)  # the cursor of the newest change there is


@dataclass(frozen=True, slots=True)
class MemoryStats:
    """How much a memory holds. `not_learned` counts the decisions that it keeps by code (`rar.words.NOT_LEARNED`)."""

    experiences: int = 0
    guides: Mapping[str, int] = field(default_factory=dict)  # by state
    trials: int = 0
    decisions: int = 0
    evicted: int = 0
    namespaces: tuple[str, ...] = ()
    embedder_id: str = ""
    dim: int = 0
    not_learned: Mapping[str, int] = field(default_factory=dict)


class Memory(Once, Protocol):
    """What was learned, found again by similarity. Threads share it, and so do processes where the backend can.

    Every method may be called from any thread. After `close` each raises `ClosedError`.
    """

    @property
    def where(self) -> str:
        """Path or address, without secrets."""
        ...

    @property
    def secret(self) -> bytes:
        """Random key of this memory for the hashes in its records; never exported."""
        ...

    @property
    def epoch(self) -> int:
        """The number of deletions by any process, as of the last look or write. Evictions do not count."""
        ...

    def bind(self, embedder_id: str, dim: int) -> None:
        """Tie an unbound memory to its embedder; on a bound one, check it.

        Raises:
            EmbedderMismatchError: It was bound to another id or dimension.
        """
        ...

    def write(self, batch: Batch) -> None:
        """Store all of `batch` or nothing. When this returns, the batch survives the death of the process.

        Experiences and guides whose id is known replace text, embedding and state, and keep their counts; new ones
        bring theirs. A trial adds to its experience's tally, and to its guide's counts, which may move the guide's
        state; a trial of an unknown experience or guide is ignored. Spending and steps add up. A decision about a known
        experience is a use of it. Over its cap a namespace evicts its least useful experiences (old, never used,
        unverified first), which `stats` counts. `rar.memory.transitions` says what becomes of each record. Of a batch
        with an `epoch`, what was deleted since is left out. Of one with an `effect` that is known, nothing is written.

        Raises:
            DimensionError: An embedding has another length than this memory's.
            RecordError: A record cannot be stored; the others can.
            ReadOnlyMemoryError, MemoryFullError: Nothing was stored.
        """
        ...

    def search(self, embedding: Vector, *, namespace: str, task: str, limit: int = 16) -> list[Match]:
        """The nearest experiences with their tallies and without their embeddings, nearest first, ties by id.

        Args:
            embedding: Shape `(dim,)`; its norm does not matter.
            limit: At least 1. A smaller memory returns fewer.
        """
        ...

    def search_guides(
        self,
        embedding: Vector,
        *,
        namespace: str,
        task: str,
        limit: int = 3,
        states: Sequence[GuideState] = ("active",),
    ) -> list[GuideMatch]:
        """The guides in `states` whose origins are nearest, nearest first, ties by id."""
        ...

    def recall(self, query: Query) -> Recalled:
        """All that a decision needs, as of one moment where the backend can.

        Subclasses inherit this one, which asks the other methods.
        """
        return recalled(self, query)

    async def arecall(self, query: Query) -> Recalled:
        """`recall` for callers with an event loop. Subclasses inherit this one, which waits for a thread."""
        return await asyncio.to_thread(self.recall, query)

    def experience(self, id: str) -> Experience | None: ...

    def guide(self, id: str) -> Guide | None: ...

    def experiences(self, *, namespace: str, task: str, limit: int = 20_000) -> list[Experience]:
        """The experiences that were last written or tried, with tallies and embeddings, newest first."""
        ...

    def guides(self, *, namespace: str | None = None, states: Sequence[GuideState] | None = None) -> list[Guide]:
        """Guides, oldest first."""
        ...

    def set_guide_state(self, id: str, state: GuideState, *, anyway: bool = False) -> None:
        """What a person decided. It stands until a person decides again, whatever trials and writes say.

        Args:
            anyway: Also against the checks of a guide's text, which else quarantine it when it is used.

        Raises:
            LookupError: No such guide.
        """
        ...

    def changes(self, since: int = 0, limit: int = 5_000, *, began: int = 0) -> Changes:
        """A page of what was upserted or deleted after cursor `since`. `rar.memory.following.Follower` turns the pages.

        Args:
            limit: Changes in a page.
            began: The log's `end` when the reader, who knew nothing, began. No older deletion concerns it, however long
                ago the records are that it is still reading: a first reading of any log comes to an end.
        """
        ...

    def policy_state(self, namespace: str, model: str = "") -> PolicyState:
        """What the steps of this namespace and model id came to; another model's are kept apart from it."""
        ...

    def spending(self, namespace: str | None = None, *, since: float = 0.0) -> list[Spend]:
        """Sums by namespace, purpose, role and model id. `since` is cut down to its (UTC) day."""
        ...

    def decision(self, id: str) -> DecisionRecord | None: ...

    def decisions(
        self, *, namespace: str | None = None, since: float = 0.0, until: float | None = None, limit: int = 1_000
    ) -> list[DecisionRecord]:
        """Decisions from `since` to `until`, both included, newest first. A memory keeps a bounded number of them."""
        ...

    def labels(self, namespace: str | None = None) -> list[Label]:
        """What people said of judged answers, oldest first. A memory keeps a bounded number, the newest."""
        ...

    def judged_answers(self, namespace: str | None = None) -> Iterator[JudgedAnswers]:
        """The answers that judges compared, newest first. A memory keeps `rar.memory.kept.KEPT_JUDGED`, the newest."""
        ...

    def cached_answer(self, namespace: str, key: str) -> CachedAnswer | None:
        """What was kept under a key, also where its time is over."""
        ...

    def cached_near(self, namespace: str, kind: str, experience_ids: Sequence[str]) -> list[CachedAnswer]:
        """The cached answers of a kind to these experiences, in no order."""
        ...

    def drop_answers(self, namespace: str | None = None) -> int:
        """Delete the judged and the cached answers of a namespace, or of all, as `delete` does, and nothing else.

        Returns:
            How many went.
        """
        ...

    def stats(self, namespace: str | None = None) -> MemoryStats: ...

    def delete(self, *, ids: Sequence[str] = (), namespace: str | None = None) -> int:
        """Delete these experiences and guides, and/or all of `namespace`, spending too.

        Decisions, labels, and judged and cached answers about them go with them.

        What is deleted leaves the files, too, as soon as nobody reads it any more.

        Returns:
            How many experiences and guides went.
        """
        ...

    def watch(self, forget: Callable[[Any], None]) -> None:
        """Call the bound method `forget` with what was deleted (a `rar.memory.forgetting.Gone`), by any process.

        It is called when this process learns of the deletion, by a look or a write, and is held weakly.
        """
        ...

    def export(self, namespace: str | None = None) -> Iterator[dict[str, Any]]:
        """Everything but a cache's answers as JSON-able records, a header first.

        Embeddings are base64 of little-endian float32.
        """
        ...

    def load(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Add exported records in one transaction and return how many. Known ids are replaced. The embedder must match.

        Guides are checked as new ones are. One that may not be stored is quarantined. One that nobody approved is
        active only if it helped as many other requests, of this memory, as that takes.

        Raises:
            ImportFormatError: Names the record by its place (1 is the header) and what is wrong with it.
        """
        ...

    def close(self) -> None: ...
