"""Limits of a request and ceilings on spending: checked before each batch and each serving call, and never for free."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rar import Ceiling, Limits, Router
from rar.ceilings import LOOKS
from rar.errors import BudgetExceededError, ConfigurationError
from rar.observers import Alarmed, Called
from rar.pool import THREADS
from rar.strategies import Cascade
from rar.strategy import Outcome, Steps, ask_all
from rar.turn import Turn
from rar.values import Answer, Call, Choice, Decision, Failure, Reply, Request, Route, Usage, question
from tests.core.world import Scripted, harbour, pair, serve
from tests.security.test_forks import in_child

# What a call of each model costs: no input is paid for, 1,000 tokens come out.
PRICES = {"weak": (0.0, 1.0), "mid": (0.0, 10.0), "strong": (0.0, 100.0)}
USD = {"weak": 0.001, "mid": 0.01, "strong": 0.1}
QUESTION = question("What is the answer?")


@dataclass
class Costly:
    """A model whose every answer has so many tokens."""

    id: str
    tokens: int = 1_000
    seconds: float = 0.0
    calls: list[str] = field(default_factory=list)

    def call(self, call: Call) -> Reply:
        self.calls.append(call.purpose)
        time.sleep(self.seconds)
        return Reply(call.model, "42", usage=Usage(1, self.tokens), model_id=self.id)

    async def acall(self, call: Call) -> Reply:
        self.calls.append(call.purpose)
        await asyncio.sleep(self.seconds)
        return Reply(call.model, "42", usage=Usage(1, self.tokens), model_id=self.id)


@pytest.fixture
def models() -> dict[str, Costly]:
    return {name: Costly(name) for name in ("weak", "mid", "strong")}


@pytest.fixture
def make(models: dict[str, Costly]) -> Iterator[Callable[..., Router]]:
    """A router that sends everything to the strong model, and knows what calls cost."""
    made: list[Router] = []

    def make(**options: Any) -> Router:
        router = Router(**{"memory": None, "prices": PRICES, "strategy": lambda _: "strong", **options})
        made.append(router)
        for name in ("weak", "mid", "strong"):
            for _ in range(200):  # by which their costs are well known
                router.ledger.add("elsewhere", "serve", name, name, Usage(1, 1_000))
        return router

    yield make
    for router in made:
        router.close()


@dataclass(frozen=True)
class Votes:
    """Asks the weak model so many times at once; gives the last answer, or the strong model's if none came."""

    count: int
    seen: list[Outcome] = field(default_factory=list)

    def steps(self, request: Request) -> Steps[Choice]:
        outcomes = yield from ask_all([Call("weak", request, purpose="draft")] * self.count)
        self.seen.extend(outcomes)
        replies = [one for one in outcomes if isinstance(one, Reply)]
        return Answer(replies[-1]) if replies else Route("strong")


async def decide(router: Router, models: Any, request: Request, asynchronous: bool) -> Decision:
    return await router.adecide(request, models) if asynchronous else router.decide(request, models)


both_ways = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def refused(outcomes: list[Outcome]) -> list[bool]:
    return [isinstance(one, Failure) and isinstance(one.error, BudgetExceededError) for one in outcomes]


class TestARequest:
    @both_ways
    async def test_calls_that_are_too_many_fail_in_the_strategy_and_one_is_kept_for_the_answer(
        self, make: Any, models: dict[str, Costly], asynchronous: bool
    ) -> None:
        votes = Votes(5)

        decision = await decide(make(strategy=votes, limits=Limits(calls=3)), models, QUESTION, asynchronous)

        assert refused(votes.seen) == [False, False, True, True, True]
        assert len(models["weak"].calls) == 2
        assert decision.drafts == 2

    @both_ways
    async def test_usd_are_checked_before_they_are_spent(
        self, make: Any, models: dict[str, Costly], asynchronous: bool
    ) -> None:
        votes = Votes(5)

        await decide(make(strategy=votes, limits=Limits(usd=0.0035)), models, QUESTION, asynchronous)

        # Of three weak calls, the last is kept for the answer.
        assert refused(votes.seen) == [False, False, True, True, True]

    def test_a_call_that_is_made_again_and_again_costs_each_time(self, make: Any, models: dict[str, Costly]) -> None:
        seen: list[Outcome] = []

        class Twice:
            def steps(self, request: Request) -> Steps[Choice]:
                call = Call("weak", request, purpose="draft")
                for _ in range(2):
                    seen.extend((yield from ask_all([call] * 5)))
                return Route("strong")

        make(strategy=Twice(), limits=Limits(usd=0.0095)).decide(QUESTION, models)

        assert refused(seen) == [False] * 8 + [True] * 2  # and one more is kept for the answer

    def test_an_answer_that_was_refused_was_paid_for(self, make: Any, models: dict[str, Costly]) -> None:
        router = make(strategy=lambda _: "mid", limits=Limits(usd=0.105))
        decision = router.decide(QUESTION, models)
        reply = models["mid"].call(decision.call)

        assert router.stand_in(decision, ValueError(), reply) is None  # the strong one would have fitted before
        assert router.stand_in(router.decide(QUESTION, models), ValueError()) is not None

    @both_ways
    async def test_no_draft_begins_when_the_time_is_over_and_the_cheapest_model_answers(
        self, make: Any, models: dict[str, Costly], asynchronous: bool
    ) -> None:
        models["weak"].seconds = 0.06
        cascade = Cascade(lambda request, draft: False, ("weak", "mid", "strong"))

        decision = await decide(make(strategy=cascade, limits=Limits(seconds=0.05)), models, QUESTION, asynchronous)

        assert (models["mid"].calls, decision.model, decision.choice.reason) == ([], "weak", "over_limit")

    def test_a_call_brings_limits_of_its_own(self, make: Any, models: dict[str, Costly]) -> None:
        votes = Votes(5)
        router = make(strategy=votes, limits=Limits(calls=2))

        router.decide(question("Why?", limits=Limits(calls=9)), models)

        assert refused(votes.seen) == [False] * 5

    def test_a_strategy_that_does_not_look_at_failures_leads_to_the_strong_model(
        self, make: Any, models: dict[str, Costly]
    ) -> None:
        from rar.strategy import ask

        class Careless:
            def steps(self, request: Request) -> Steps[Choice]:
                return Answer((yield from ask("weak", request)))

        decision = make(strategy=Careless(), limits=Limits(calls=1)).decide(QUESTION, models)

        assert (decision.model, decision.choice.reason) == ("strong", "over_limit")

    async def test_so_many_calls_run_at_once_as_are_allowed(self, make: Any) -> None:
        at_once, most, lock = 0, 0, threading.Lock()

        def enter() -> None:
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)

        def leave() -> None:
            nonlocal at_once
            with lock:
                at_once -= 1

        class Counted(Costly):
            def call(self, call: Call) -> Reply:
                enter()
                reply = super().call(call)
                leave()
                return reply

            async def acall(self, call: Call) -> Reply:
                enter()
                reply = await super().acall(call)
                leave()
                return reply

        models = {name: Counted(name, seconds=0.01) for name in ("weak", "strong")}
        router = make(strategy=Votes(9), limits=Limits(parallel=3))
        for asynchronous in (False, True):
            await decide(router, models, QUESTION, asynchronous)

            assert (most, len(models["weak"].calls)) == (3, 9 + 9 * asynchronous)
            most = 0


class TestWhoAnswers:
    @both_ways
    @pytest.mark.parametrize(("usd", "answers"), [(0.2, "strong"), (0.05, "mid"), (0.005, "weak")])
    async def test_the_dearest_cheaper_model_that_fits(
        self, usd: float, answers: str, asynchronous: bool, make: Any, models: dict[str, Costly]
    ) -> None:
        decision = await decide(make(limits=Limits(usd=usd)), models, QUESTION, asynchronous)

        assert decision.model == answers
        assert decision.choice.reason == ("function" if answers == "strong" else "over_limit")

    @both_ways
    async def test_nobody_where_nothing_fits(self, asynchronous: bool, make: Any, models: dict[str, Costly]) -> None:
        with pytest.raises(BudgetExceededError, match=r"0\.100000 USD, and 0\.000500 are left of 0\.0005 USD per req"):
            await decide(make(limits=Limits(usd=0.0005)), models, QUESTION, asynchronous)

    def test_nobody_where_that_was_chosen(self, make: Any, models: dict[str, Costly]) -> None:
        with pytest.raises(BudgetExceededError):
            make(limits=Limits(usd=0.05), over_limit="error").decide(QUESTION, models)

    def test_the_chosen_one_with_a_warning_once(
        self, make: Any, models: dict[str, Costly], caplog: pytest.LogCaptureFixture
    ) -> None:
        router = make(limits=Limits(usd=0.05), over_limit="strong")
        with caplog.at_level(logging.WARNING, logger="rar"):
            assert {router.decide(QUESTION, models).model for _ in range(3)} == {"strong"}

        (warning,) = (record.getMessage() for record in caplog.records if "over_limit" in record.getMessage())
        assert "0.05 USD per request" in warning

    def test_a_model_that_the_caller_insists_on_is_not_exchanged(self, make: Any, models: dict[str, Costly]) -> None:
        with pytest.raises(BudgetExceededError):
            make(limits=Limits(usd=0.05)).decide(question("Why?", force="strong"), models)

    def test_no_dearer_model_stands_in_for_one_that_fails(self, make: Any, models: dict[str, Costly]) -> None:
        router = make(strategy=lambda _: "weak", limits=Limits(usd=0.05))

        def fail() -> None:
            for attempt in Turn(router, router.decide(QUESTION, models)):
                with attempt:
                    raise TimeoutError

        with pytest.raises(TimeoutError):
            fail()
        router = make(strategy=lambda _: "weak", limits=Limits(usd=0.5))
        turn = Turn(router, router.decide(QUESTION, models))
        for attempt in turn:
            with attempt:
                if attempt.decision.model == "weak":
                    raise TimeoutError
        assert turn.decision.model == "strong"

    def test_a_failed_attempt_is_a_call(self, make: Any, models: dict[str, Costly]) -> None:
        router = make(strategy=lambda _: "weak", limits=Limits(calls=1))

        decision = router.decide(QUESTION, models)

        assert not router.may_fail_over(decision)

    def test_a_model_without_a_price_costs_nothing_that_could_be_checked(self, models: dict[str, Costly]) -> None:
        router = Router(memory=None, strategy=lambda _: "strong", limits=Limits(usd=1e-9))

        assert router.decide(QUESTION, models).model == "strong"


class Alarms:
    def __init__(self) -> None:
        self.events: list[Alarmed] = []

    def alarmed(self, event: Alarmed) -> None:
        self.events.append(event)


def ask(router: Router, models: Any, text: str = "Why?", **fields: Any) -> str:
    """Who answers one request, which is served and paid for."""
    return serve(router, models, question(text, **fields))[0].model


class TestCeilings:
    def test_a_day_is_not_overspent_and_the_next_one_begins_anew(self, make: Any, models: dict[str, Costly]) -> None:
        now, alarms = [0.0], Alarms()
        router = make(spend=Ceiling(0.35), clock=lambda: now[0], observers=[alarms])

        answered = [ask(router, models) for _ in range(8)]
        now[0] += 86_400.0

        assert answered[:4] == ["strong", "strong", "strong", "mid"]
        assert sum(USD[model] for model in answered) <= 0.35
        assert [(event.kind, event.about) for event in alarms.events] == [("spent", "0.35 USD per day")]
        assert ask(router, models) == "strong"

    def test_each_namespace_has_its_own(self, make: Any, models: dict[str, Costly]) -> None:
        router = make(spend=Ceiling(0.15, per="namespace"))

        assert [ask(router, models, namespace=name) for name in ("a", "a", "b", "b")] == ["strong", "mid"] * 2

    def test_each_conversation_has_its_own_and_requests_without_one_have_none(
        self, make: Any, models: dict[str, Costly]
    ) -> None:
        router = make(spend=Ceiling(0.15, per="thread"))

        assert [ask(router, models, thread=name) for name in ("a", "a", "b", "b")] == ["strong", "mid"] * 2
        assert [ask(router, models) for _ in range(3)] == ["strong"] * 3
        assert ask(router, models, thread="a", namespace="other") == "strong"

    def test_several_hold_at_once(self, make: Any, models: dict[str, Costly]) -> None:
        router = make(spend=[Ceiling(0.25, per="day"), Ceiling(0.15, per=("namespace", "day"))])

        assert [ask(router, models, namespace=name) for name in "aabc"] == ["strong", "mid", "strong", "mid"]

    def test_calls_at_the_same_time_do_not_spend_the_same_twice(self, make: Any, models: dict[str, Costly]) -> None:
        router = make(spend=Ceiling(0.35))

        decided = [router.decide(QUESTION, models) for _ in range(5)]  # none is served yet

        assert [decision.model for decision in decided] == ["strong", "strong", "strong", "mid", "mid"]

    def test_what_was_held_for_an_attempt_that_failed_is_free_again(self, make: Any, models: dict[str, Costly]) -> None:
        router = make(spend=Ceiling(0.15))

        def fail() -> None:
            for attempt in Turn(router, router.decide(QUESTION, models)):
                with attempt:
                    raise TimeoutError

        with pytest.raises(TimeoutError):
            fail()
        assert ask(router, models) == "strong"

    def test_what_nobody_heard_of_again_is_taken_as_paid_for(self, make: Any, models: dict[str, Costly]) -> None:
        now = [0.0]
        router = make(spend=Ceiling(0.15, per="namespace"), clock=lambda: now[0])
        router.decide(QUESTION, models)  # an abandoned stream
        now[0] += 3_600.0
        router.decide(question("Why?", namespace="other"), models)

        assert ask(router, models) == "mid"

    def test_a_cached_answer_holds_nothing(self, make: Any, models: dict[str, Costly]) -> None:
        router = make(spend=Ceiling(0.15))
        for _ in range(3):
            decision = router.decide(QUESTION, models)
            assert decision.model == "strong"
            router.unpaid(decision)

    def test_drafts_count(self, make: Any, models: dict[str, Costly]) -> None:
        router = make(strategy=Votes(5), spend=Ceiling(0.0075, per="day"))
        votes = router.strategy

        for _ in range(2):
            router.decide(QUESTION, models)

        assert sum(refused(votes.seen)) == 4  # of ten; one more call is kept for the answer
        assert len(models["weak"].calls) == 6

    def test_learning_counts_and_ends_when_it_is_spent(self, tmp_path: Path) -> None:
        models = pair()
        options: dict[str, Any] = {"embedder": "hashing", "learning": "inline", "learning_budget": None}
        prices = {"weak": (0.0, 0.0), "strong": (0.0, 50_000.0)}  # a USD an answer
        with Router(memory=tmp_path / "a.db", prices=prices, spend=Ceiling(1.5), **options) as router:
            for _ in range(200):
                router.ledger.add("elsewhere", "serve", "strong", "big-1", Usage(100, 20))
            serve(router, models, harbour(3))  # type: ignore[arg-type]

            assert models["strong"].calls == {"serve": 1}  # there is no room for writing a guide
            (record,) = router.decisions()
            assert record["learned"]["stopped"].startswith("BudgetError")

    def test_what_earlier_and_other_processes_spent_counts(self, tmp_path: Path) -> None:
        path, now = tmp_path / "a.db", [5.0]
        options: dict[str, Any] = {
            "memory": path, "embedder": "hashing", "learning": "inline", "prices": PRICES, "learning_budget": 0.0,
            "spend": Ceiling(0.5), "strategy": lambda _: "strong", "clock": lambda: now[0],
        }  # fmt: skip
        models = {name: Costly(name) for name in ("weak", "strong")}
        with Router(**options) as first:
            ask(first, models)
            ask(first, models)
        with Router(**options) as second, Router(**options) as third:
            ask(second, models)
            ask(third, models)
            assert ask(third, models, "Who?") == "weak"  # nearly nothing is left, by its own count
            assert second.ledger.prices.of("strong", "strong") is not None
            now[0] += LOOKS + 1.0
            assert ask(second, models, "Who?") == "weak"

    async def test_the_event_loop_reads_no_memory(self, tmp_path: Path) -> None:
        now, threads = [5.0], []
        with Router(
            memory=tmp_path / "a.db", embedder="hashing", spend=Ceiling(5.0), clock=lambda: now[0], prices=PRICES
        ) as router:
            assert router.memory is not None
            reserve = type(router.memory).reserve  # type: ignore[attr-defined]

            def seen(*args: Any, **kwargs: Any) -> Any:
                threads.append(threading.current_thread())
                return reserve(router.memory, *args, **kwargs)

            router.memory.reserve = seen  # type: ignore[attr-defined]
            now[0] += LOOKS + 1.0
            await router.adecide(QUESTION, {name: Costly(name) for name in ("weak", "strong")})

            assert threads
            assert threading.current_thread() not in threads


def test_a_ceiling_is_hardly_overshot_though_what_a_call_costs_is_not_known(models: dict[str, Costly]) -> None:
    overshot = []
    for seed in range(10):
        chance = random.Random(seed)
        router = Router(memory=None, prices=PRICES, strategy=lambda _: "strong", spend=Ceiling(10.0))
        spent = 0.0
        for _ in range(16):
            decided: list[Decision] = []
            for _ in range(8):  # at the same time
                with suppress(BudgetExceededError):
                    decided.append(router.decide(QUESTION, models))
            for decision in decided:
                models[decision.model].tokens = round(chance.lognormvariate(6.7, 0.5))
                reply = models[decision.model].call(decision.call)
                router.learn(decision, reply, models)
                spent += PRICES[decision.model][1] * reply.usage.output_tokens / 1e6
        overshot.append(spent / 10.0 - 1.0)

    assert sum(overshot) / len(overshot) <= 0.004
    assert max(overshot) <= 0.01
    assert min(overshot) >= -0.1  # what it leaves is little


class TestThreads:
    def test_a_batch_of_any_size_takes_a_bounded_number(self, make: Any) -> None:
        names: set[str] = set()

        class Named(Costly):
            def call(self, call: Call) -> Reply:
                names.add(threading.current_thread().name)
                return super().call(call)

        models = {name: Named(name, seconds=0.01) for name in ("weak", "strong")}  # so long that the caller takes part
        router = make(strategy=Votes(200))
        for _ in range(2):
            router.decide(QUESTION, models)

        assert len(models["weak"].calls) == 400
        assert len(names) <= THREADS + 1
        assert threading.current_thread().name in names

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
    def test_a_forked_child_has_threads_of_its_own(self, make: Any, models: dict[str, Costly]) -> None:
        router = make(strategy=Votes(8), spend=Ceiling(1.0))
        router.decide(QUESTION, models)

        assert in_child(lambda: router.decide(QUESTION, models).drafts == 8) == 0
        assert router.decide(QUESTION, models).drafts == 8

    def test_batches_in_batches_come_to_an_end(self, make: Any) -> None:
        inner = make(strategy=Votes(4))

        class Nested(Costly):
            def call(self, call: Call) -> Reply:
                inner.decide(QUESTION, {name: Costly(name) for name in ("weak", "strong")})
                return super().call(call)

        done = threading.Thread(
            target=lambda: make(strategy=Votes(100)).decide(QUESTION, {"weak": Nested("weak"), "strong": Costly("s")}),
            daemon=True,
        )
        done.start()
        done.join(30.0)

        assert not done.is_alive()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Limits(calls=0),
        lambda: Limits(usd=-1.0),
        lambda: Limits(seconds=0.0),
        lambda: Limits(parallel=1.5),  # type: ignore[arg-type]
        lambda: Ceiling(float("nan")),
        lambda: Ceiling(1.0, per="week"),  # type: ignore[arg-type]
        lambda: Ceiling(1.0, per=()),
        lambda: Router(memory=None, limits=0.05),  # type: ignore[arg-type]
        lambda: Router(memory=None, spend=5.0),  # type: ignore[arg-type]
        lambda: Router(memory=None, spend=[Ceiling(5.0), 5.0]),  # type: ignore[list-item]
        lambda: Router(memory=None, over_limit="weak"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_limit_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError):
        make()


def test_an_answer_that_a_limit_chose_teaches_nothing(tmp_path: Path) -> None:
    models = {"weak": Scripted("small-1", lambda _: "1"), "strong": Scripted("big-1", lambda _: "1")}
    with Router(
        memory=tmp_path / "a.db", embedder="hashing", learning="inline", limits=Limits(usd=0.01),
        prices={"weak": (0.0, 0.0), "strong": (0.0, 1_000.0)},
    ) as router:  # fmt: skip
        serve(router, models, question("What is it?"))  # type: ignore[arg-type]

        (facts,) = router.decisions()
        assert (facts["reason"], facts["model"], facts["not_learned"]) == ("over_limit", "weak", "over_limit")
        assert "spending limit" in facts["why"]


def test_events_know_a_conversation_by_a_label_only(make: Any, models: dict[str, Costly]) -> None:
    events: list[Called] = []

    class Keeps:
        def called(self, event: Called) -> None:
            events.append(event)

    router = make(observers=[Keeps()])
    for thread in ("secret-session", "secret-session", "another", None):
        ask(router, models, thread=thread)

    one, again, other, none = (event.thread for event in events)
    assert one == again != other
    assert none == ""
    assert "secret" not in str(events)


def test_a_request_without_limits_is_not_metered(make: Any, models: dict[str, Costly]) -> None:
    assert make().decide(QUESTION, models).meter is None
