"""The demo's run: questions in order, learning after each, then the check against the strong model."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rar.demo.questions import Question, stream
from rar.drive import drive
from rar.errors import MissingDependencyError, ReadOnlyMemoryError
from rar.facts import read_facts
from rar.learning.judges import AutoJudge
from rar.local.server import LocalServer
from rar.memory import Memory, open_memory
from rar.memory.base import Spend
from rar.prices import Price, Prices
from rar.router import Router
from rar.savings import Savings, savings
from rar.values import STRONG, WEAK, Reply, question

if TYPE_CHECKING:
    from rar.demo.apps import Apps

NAMESPACE = "demo"
_NEEDED = ("xllamacpp", "matplotlib", "langchain_openai", "llama_index.core", "llama_index.llms.openai_like")


@dataclass(frozen=True)
class Settings:
    """What the demo's router is given; all of it is shown with the results.

    Args:
        priced_as: Hosted models whose public prices stand in for those of the local ones, which cost nothing.
    """

    quality: float = 0.9
    policy: Literal["floor", "paper"] = "floor"
    learning_budget: float | None = 0.5
    audit_rate: float = 0.1
    seed: int = 0
    priced_as: dict[str, str] = field(default_factory=lambda: {WEAK: "gpt-4.1-nano", STRONG: "gpt-4.1"})

    @property
    def prices(self) -> dict[str, Price]:
        """USD per million input and output tokens, by role."""
        known = {role: Prices().of(role, name) for role, name in self.priced_as.items()}
        return {role: price for role, price in known.items() if price is not None}


@dataclass(frozen=True, slots=True)
class Served:
    """One answered question. Costs are sums of this run up to here, its learning included."""

    question: Question
    answer: str
    model: str
    reason: str
    guide_id: str | None
    decision_id: str
    repeat: bool
    seconds: float
    spent_usd: float = 0.0
    always_strong_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Check:
    """Weak answers against the strong model's to the same questions, asked after the run and outside the ledger."""

    agreed: int = 0
    differed: int = 0
    unclear: int = 0


@dataclass(frozen=True, slots=True)
class Before:
    """The latest calls that the memory had seen before this run, as many as this run made at most."""

    calls: int
    strong: int


@dataclass(frozen=True, slots=True)
class Result:
    """All that the report shows. `check` is None where the run was stopped before it."""

    settings: Settings
    memory: str
    models: dict[str, str]
    asked: int
    served: tuple[Served, ...]
    spending: tuple[Spend, ...]
    savings: Savings
    guides: dict[str, int]
    experiences: int
    before: Before | None
    check: Check | None
    seconds: float

    @property
    def strong(self) -> int:
        """Questions that the strong model answered."""
        return sum(entry.model == STRONG for entry in self.served)


def run(
    count: int,
    memory: str | Path,
    *,
    settings: Settings,
    weak: Literal["weak", "tiny"] = "weak",
    tell: Callable[[str], None],
    show: Callable[[Served], None],
) -> Result:
    """Ask `count` questions. Ctrl-C ends the run early and keeps what was done so far.

    `tell` hears what is going on outside the questions, `show` every answered question.

    Raises:
        MissingDependencyError, WeightsError: Something of the extra `[demo]` is not installed.
        MemoryStoreError: The memory cannot be used.
    """
    check_installed()
    from rar.demo.apps import alone, document_index, routed  # noqa: PLC0415 - after the check: it imports both frameworks

    with ExitStack() as stack:
        tell("Loading the models (the first time, their weights are put together)")
        servers = {role: stack.enter_context(LocalServer(name)) for role, name in ((WEAK, weak), (STRONG, "strong"))}
        opened = stack.enter_context(closing(open_memory(memory)))
        if getattr(opened, "read_only", False):
            raise ReadOnlyMemoryError(str(memory))
        router = stack.enter_context(
            Router(
                memory=opened,
                namespace=NAMESPACE,
                quality=settings.quality,
                policy=settings.policy,
                learning_budget=settings.learning_budget,
                audit_rate=settings.audit_rate,
                prices=settings.prices,
                seed=settings.seed,
            )
        )
        assert router.embedder is not None
        index = document_index(router.embedder)
        apps, strong = routed(servers[WEAK], servers[STRONG], router, index), alone(servers[STRONG], index)
        earlier = opened.decisions(namespace=NAMESPACE, limit=count)
        session = _Session(router, opened, apps, show)
        started, check = time.monotonic(), None
        try:
            session.ask_all(stream(count, settings.seed))
            tell("Asking the strong model what the weak one answered, to compare (not part of the ledger)")
            check = compare(session.served, strong)
        except KeyboardInterrupt:
            tell("Stopped")
        router.flush(timeout=30.0)
        spending, held = session.spending(), opened.stats(NAMESPACE)
        return Result(
            settings=settings,
            memory=opened.where,
            models={role: server.model_id for role, server in servers.items()},
            asked=count,
            served=tuple(session.served),
            spending=tuple(spending),
            savings=savings(spending, router.ledger.prices),
            guides=dict(held.guides),
            experiences=held.experiences,
            before=Before(len(earlier), sum(r.model == STRONG for r in earlier)) if earlier else None,
            check=check,
            seconds=time.monotonic() - started,
        )


class _Session:
    """Asks and keeps count, from what the memory's ledger said at its start."""

    def __init__(self, router: Router, memory: Memory, apps: Apps, show: Callable[[Served], None]) -> None:
        self.served: list[Served] = []
        self._router, self._memory, self._apps, self._show = router, memory, apps, show
        self._start = self._spent()

    def ask_all(self, questions: Sequence[Question]) -> None:
        asked: set[Question] = set()
        for entry in questions:
            started = time.monotonic()
            answer = self._apps.ask(entry)
            seconds = time.monotonic() - started
            # Learning ends before the next question, so that a run on the same models always goes the same way.
            self._router.flush()
            facts = read_facts(self._memory.decisions(namespace=NAMESPACE, limit=1)[0].facts)
            saved = savings(self.spending(), self._router.ledger.prices)
            self.served.append(
                Served(
                    entry,
                    answer.strip(),
                    model=facts.model,
                    reason=facts.reason,
                    guide_id=facts.guide_id,
                    decision_id=facts.decision_id,
                    repeat=entry in asked,
                    seconds=seconds,
                    spent_usd=saved.spent_usd or 0.0,
                    always_strong_usd=saved.always_strong_usd or 0.0,
                )
            )
            asked.add(entry)
            self._show(self.served[-1])

    def spending(self) -> list[Spend]:
        """What was spent since the start."""
        return [spend for spend in map(self._since, self._spent().values()) if spend.calls]

    def _since(self, now: Spend) -> Spend:
        then = self._start.get(_key(now))
        return (
            now
            if then is None
            else replace(
                now,
                calls=now.calls - then.calls,
                input_tokens=now.input_tokens - then.input_tokens,
                output_tokens=now.output_tokens - then.output_tokens,
                usd=now.usd - then.usd,
                unpriced=now.unpriced - then.unpriced,
            )
        )

    def _spent(self) -> dict[tuple[str, str, str], Spend]:
        return {_key(spend): spend for spend in self._router.stats().spending if spend.namespace == NAMESPACE}


def compare(served: Sequence[Served], strong: Apps) -> Check:
    """Ask the strong model what the weak one answered, unless it had answered the same question itself."""
    reference = {entry.question: entry.answer for entry in served if entry.model == STRONG}
    judge, verdicts = AutoJudge(), Counter[Any]()
    for entry in served:
        if entry.model != WEAK:
            continue
        asked = entry.question
        if asked not in reference:
            reference[asked] = strong.ask(asked).strip()
        replies = Reply(STRONG, reference[asked]), Reply(WEAK, entry.answer)
        verdicts[drive(judge.steps(question(asked.text), *replies), {}).agrees] += 1
    return Check(verdicts[True], verdicts[False], verdicts[None])


def _key(spend: Spend) -> tuple[str, str, str]:
    return spend.purpose, spend.role, spend.model_id


def check_installed() -> None:
    """Refuse to begin where something of the extra `[demo]` is missing."""
    for name in _NEEDED:
        try:
            found = find_spec(name)
        except ModuleNotFoundError:  # of a parent package
            found = None
        if found is None:
            raise MissingDependencyError(name, "demo")
