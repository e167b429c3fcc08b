"""One strategy on the real models: who answered, after how many calls, and whether that was right."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rich.text import Text

from rar.cli.layout import Column, Facts, Grid
from rar.cli.tables import cut, role
from rar.demo.questions import Question, stream
from rar.demo.run import Settings, check_installed
from rar.drive import drive
from rar.embedding import as_embedder
from rar.errors import UnknownNameError
from rar.learning.judges import AutoJudge
from rar.local.server import LocalServer
from rar.observers import Called, Decided
from rar.router import Router
from rar.sampling import Sampling
from rar.strategies import (
    AgreementCascade,
    Approximation,
    BestOfN,
    Blended,
    Cached,
    Cascade,
    ChainOfThought,
    Fused,
    PairRanker,
    PromptTask,
    SelfConsistency,
    Threshold,
    TreeOfThoughts,
)
from rar.strategy import Strategy
from rar.values import STRONG, WEAK, Reply, question

_WARM = Sampling(temperature=0.7)


@dataclass(frozen=True)
class Shown:
    """A strategy that the demo can show, and what to look for."""

    make: Callable[[], Strategy]
    says: str


def _by_kind() -> Strategy:
    """A classifier of which kind a question of the demo is, as the labels of a log would teach it."""
    known = [entry for entry in stream(400, seed=99) if entry.app == "langchain"]
    texts = {entry.text: entry.kind for entry in known}
    return Approximation.fit(list(texts), list(texts.values()), agreement=0.9)


STRATEGIES: Mapping[str, Shown] = {
    "agreement": Shown(
        lambda: AgreementCascade([WEAK, (WEAK, "Work it out step by step, then give the answer.")]),
        "Two drafts of the weak model, one of them step by step. Where they differ, the strong model answers.",
    ),
    "approximation": Shown(
        _by_kind,
        "A local classifier says of which kind a question is, and asks nobody where it is sure.",
    ),
    "best-of-n": Shown(
        lambda: BestOfN(PairRanker.of(lambda _, one, other: float(len(other) - len(one))), n=3, sampling=_WARM),
        "Three drafts of the weak model. A ranker that prefers short ones picks the answer.",
    ),
    "blended": Shown(lambda: Blended([WEAK, STRONG]), "Each question goes to one of the two models, by chance."),
    "cached": Shown(lambda: Cached(WEAK), "What was asked before is answered without a call."),
    "cascade": Shown(
        lambda: Cascade(lambda _, draft: len(draft.text) < 60),
        "The weak model drafts. A draft of less than 60 characters is taken, else the strong model answers.",
    ),
    "chain-of-thought": Shown(
        lambda: ChainOfThought(WEAK, show="answer"), "The weak model works it out, and only its answer is shown."
    ),
    "fused": Shown(lambda: Fused([WEAK, STRONG]), "Both models draft, and the strong one makes one answer of it."),
    "self-consistency": Shown(
        lambda: SelfConsistency(WEAK, samples=5, stop="exact", sampling=_WARM),
        "The weak model is asked until no other answer can win the vote, at most five times.",
    ),
    "threshold": Shown(
        lambda: Threshold(lambda text: min(len(text) / 100.0, 1.0)),
        "Questions of more than 50 characters go to the strong model.",
    ),
    "tree-of-thoughts": Shown(
        lambda: TreeOfThoughts(PromptTask(depth=2), WEAK, b=1, samples=2, max_calls=8),
        "The weak model proposes two steps, votes for one, and goes on from it, with eight calls at most.",
    ),
}


@dataclass(frozen=True, slots=True)
class Answered:
    """One question. `right` is None where no judge could tell."""

    question: Question
    answer: str
    model: str
    reason: str
    calls: int
    seconds: float
    right: bool | None


@dataclass
class Tally:
    """Hears what the router does."""

    last: tuple[str, str] = ("", "")
    calls: list[Called] = field(default_factory=list)

    def decided(self, event: Decided) -> None:
        self.last = event.facts.model, event.facts.reason

    def called(self, event: Called) -> None:
        self.calls.append(event)


@dataclass(frozen=True)
class Result:
    """All that came of it."""

    strategy: str
    models: dict[str, str]
    answered: tuple[Answered, ...]
    calls: tuple[Called, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "models": self.models,
            "answers": [asdict(entry) for entry in self.answered],
            "calls": [
                {"model": name, "purpose": purpose, "calls": len(events), "output_tokens": _tokens(events)}
                for (name, purpose), events in self._by_purpose().items()
            ],
        }

    def tables(self) -> list[Any]:
        columns = Column("model"), Column("purpose"), Column("calls", right=True), Column("output tokens", right=True)
        rows = [
            (role(name), purpose, str(len(events)), f"{_tokens(events):,}")
            for (name, purpose), events in self._by_purpose().items()
        ]
        verdicts = Counter(entry.right for entry in self.answered)
        told = f"{verdicts[True]} of {len(self.answered)}" + (f", {verdicts[None]} unclear" if verdicts[None] else "")
        return [Grid("calls", columns, tuple(rows)), Facts({"right": told, "models": ", ".join(self.models.values())})]

    def _by_purpose(self) -> dict[tuple[str, str], list[Called]]:
        found: dict[tuple[str, str], list[Called]] = {}
        for event in self.calls:
            found.setdefault((event.model, event.purpose), []).append(event)
        return dict(sorted(found.items()))


def show_one(
    name: str,
    count: int,
    *,
    seed: int,
    weak: Literal["weak", "tiny"],
    tell: Callable[[str], None],
    show: Callable[[Answered], None],
) -> Result:
    """Ask `count` questions by a strategy.

    Raises:
        UnknownNameError: There is none of that name.
        MissingDependencyError, WeightsError: Something of the extra `[demo]` is not installed.
    """
    if name not in STRATEGIES:
        raise UnknownNameError("--strategy", name, STRATEGIES)
    check_installed()
    from rar.demo.apps import document_index, routed  # noqa: PLC0415 - after the check: it imports both frameworks

    judge, tally, answered = AutoJudge(), Tally(), list[Answered]()
    with ExitStack() as stack:
        tell("Loading the models (the first time, their weights are put together)")
        names: tuple[tuple[str, Any], ...] = ((WEAK, weak), (STRONG, "strong"))
        servers = {place: stack.enter_context(LocalServer(of)) for place, of in names}
        made = STRATEGIES[name].make()
        router = stack.enter_context(
            Router(memory=None, strategy=made, seed=seed, observers=[tally], prices=Settings().prices)
        )
        apps = routed(servers[WEAK], servers[STRONG], router, document_index(as_embedder("minilm")))
        for entry in stream(count, seed):
            before, began = len(tally.calls), time.monotonic()
            answer = apps.ask(entry).strip()
            expected = Reply(STRONG, entry.kind if name == "approximation" else entry.answer)
            verdict = drive(judge.steps(question(entry.text), expected, Reply(WEAK, answer)), {})
            calls, seconds = len(tally.calls) - before, time.monotonic() - began
            answered.append(Answered(entry, answer, *tally.last, calls, seconds, verdict.agrees))
            show(answered[-1])
        models = {place: server.model_id for place, server in servers.items()}
    return Result(name, models, tuple(answered), tuple(tally.calls))


def line(place: int, entry: Answered, width: int) -> Text:
    """One answered question, of `width` characters at most."""
    left = max(width - 54, 20)
    verdict = {True: "right", False: "wrong", None: "?"}[entry.right]
    return Text.assemble(
        (f"{place:3} ", "dim"), role(entry.model), " " * (7 - len(entry.model)),
        (f"{entry.reason:17} {entry.calls:2} calls {entry.seconds:5.1f} s {verdict:5} ", "dim"),
        cut(entry.question.text, left * 3 // 5), (" → ", "dim"), cut(entry.answer, left * 2 // 5),
    )  # fmt: skip


def _tokens(events: Sequence[Called]) -> int:
    return sum(event.usage.output_tokens for event in events if event.usage is not None)
