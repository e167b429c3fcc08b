"""What calls cost and learning may cost, through the router: estimates, free models, why nothing was learned."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rar import FunctionModel, Router, SQLiteMemory
from rar.strategies import Cascade
from rar.values import Answer, Call, CallRecord, Message, Reply, Request, Route, Usage, question
from rar.words import NOT_LEARNED
from tests.core.test_router import make
from tests.core.world import Scripted, easy, harbour, pair, serve, strong_answer, teach_harbours, weak_answer

PRICES = {"weak": (1.0, 2.0), "strong": (10.0, 20.0)}
FREE = {"weak": (0.0, 0.0), "strong": (0.0, 0.0)}


class Silent(Scripted):
    """A model whose provider reports no tokens."""

    def call(self, call: Call) -> Reply:
        return replace(super().call(call), usage=Usage())


def silent_pair() -> dict[str, Scripted]:
    return {"weak": Silent("small-1", weak_answer), "strong": Silent("big-1", strong_answer)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rar.db"


@pytest.fixture
def budgeted(path: Path) -> Iterator[Callable[..., Router]]:
    """Makes routers with the default budget."""
    made: list[Router] = []

    def make_one(**options: Any) -> Router:
        made.append(make(path, **{"learning_budget": 0.2, **options}))
        return made[-1]

    yield make_one
    for router in made:
        router.close()


def advice(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if word in record.getMessage()]


class TestTokensThatNobodyReports:
    def test_every_kind_of_call_is_counted_and_marked(self, budgeted: Callable[..., Router]) -> None:
        router = budgeted(learning_budget=None, audit_rate=1.0)
        models = silent_pair()
        for request in (harbour(12), harbour(12), easy(41), easy(41)):
            serve(router, models, request)

        stats = router.stats()

        assert {spend.purpose for spend in stats.spending} == {"serve", "shadow", "guide", "audit"}
        for spend in stats.spending:
            assert (spend.estimated, spend.input_tokens > 0, spend.output_tokens > 0) == (spend.calls, True, True)
        assert stats.estimated == sum(spend.calls for spend in stats.spending)

    def test_a_guide_that_is_sent_along_costs_its_tokens(self, budgeted: Callable[..., Router]) -> None:
        router = budgeted(learning_budget=None)
        models = silent_pair()
        teach_harbours(router, models)
        decision, reply = serve(router, models, harbour(12))
        guided, again = serve(router, models, harbour(3))

        assert guided.guide is not None
        assert router.costs(guided, again)["input_tokens"] > router.costs(decision, reply)["input_tokens"] + 40

    def test_drafts_of_a_strategy_and_judges_are_counted_too(self, budgeted: Callable[..., Router]) -> None:
        router = budgeted(strategy=Cascade(accept=lambda request, draft: False), judge="llm", learning_budget=None)
        serve(router, silent_pair(), easy(41))

        counted = {(spend.purpose, spend.role): spend for spend in router.stats().spending}
        assert ("judge", "strong") in counted
        assert all(spend.estimated == spend.calls and spend.input_tokens for spend in counted.values())

    def test_what_is_reported_is_not_marked(self, budgeted: Callable[..., Router]) -> None:
        router = budgeted()
        serve(router, pair(), easy(41))

        assert router.stats().estimated == 0

    @pytest.mark.parametrize("usage", [Usage(100, 0), Usage(0, 20)])
    def test_one_of_the_two_counts_is_enough_to_know_the_other(
        self, usage: Usage, budgeted: Callable[..., Router]
    ) -> None:
        router = budgeted()
        models = pair()
        decision = router.decide(easy(41), models)
        costs = router.costs(decision, Reply("strong", "The number is 41.", usage=usage, model_id="big-1"))

        assert costs["estimated"]
        assert costs["input_tokens"] == usage.input_tokens or 10 <= costs["input_tokens"] <= 40
        assert costs["output_tokens"] == usage.output_tokens or 3 <= costs["output_tokens"] <= 10

    def test_the_budget_lets_as_much_be_learned_as_with_reported_tokens(self, tmp_path: Path) -> None:
        served = {}
        for kind, models in (("reported", pair()), ("estimated", silent_pair())):
            with make(tmp_path / kind, learning_budget=0.2) as router:
                for n in range(300):
                    serve(router, models, easy(n % 40))
                served[kind] = router.stats().savings.served_strong

        assert served["estimated"] <= served["reported"] + 3
        assert served["reported"] < 100

    def test_sums_and_marks_survive_export_and_the_process(self, path: Path, tmp_path: Path) -> None:
        with make(path, learning_budget=None) as router:
            serve(router, silent_pair(), easy(41))
            before = router.stats()
        with SQLiteMemory(path) as memory, SQLiteMemory(tmp_path / "copy.db") as copy:
            copy.load(json.loads(json.dumps(list(memory.export()))))
            assert copy.spending() == memory.spending() == list(before.spending)
            older = [
                {name: value for name, value in record.items() if name != "estimated"} for record in memory.export()
            ]
            copy.load(older)  # from a version that knew no such count
            assert {spend.estimated for spend in copy.spending()} == {0}

    def test_what_a_cache_gave_is_not_counted(self, budgeted: Callable[..., Router]) -> None:
        router = budgeted()
        models = pair()
        decision = router.decide(easy(41), models)
        cached = Reply("strong", "41", model_id="big-1", cached=True)

        router.learn(decision, cached, models)

        assert [spend for spend in router.stats().spending if spend.purpose == "serve"] == []
        assert router.costs(decision, cached, models) == {
            "usd": 0.0, "strong_usd": 0.0, "input_tokens": 0, "output_tokens": 0, "estimated": False,
            "calls": [CallRecord("strong", "serve", usd=0.0).as_dict()],
        }  # fmt: skip


class TestCosts:
    def test_a_weak_answer_shows_what_the_strong_model_would_have_cost(self, budgeted: Callable[..., Router]) -> None:
        router = budgeted(prices=PRICES)
        models = pair()
        strong, its = serve(router, models, easy(41))
        weak, other = serve(router, models, easy(41))

        assert router.costs(strong, its) == {
            "usd": pytest.approx(0.0014), "strong_usd": pytest.approx(0.0014),
            "input_tokens": 100, "output_tokens": 20, "estimated": False,
            "calls": [CallRecord("strong", "serve", Usage(100, 20), usd=pytest.approx(0.0014)).as_dict()],
        }  # fmt: skip
        costs = router.costs(weak, other, models)
        assert (costs["usd"], costs["strong_usd"]) == (pytest.approx(0.00014), pytest.approx(0.0014))
        assert router.explain(weak.id).items() >= costs.items()

    def test_an_unknown_price_is_none_and_the_other_one_is_still_shown(self, budgeted: Callable[..., Router]) -> None:
        router = budgeted(prices={"big-1": (10.0, 20.0)})
        models = pair()
        serve(router, models, easy(41))
        weak, reply = serve(router, models, easy(41))

        assert router.costs(weak, reply)["usd"] is None
        assert router.costs(weak, reply)["strong_usd"] == pytest.approx(0.0014)

    @pytest.mark.parametrize("given", [{"force": "weak"}, {"sticky": Route("weak")}, {"learn": False}])
    def test_calls_that_look_nothing_up_know_the_strong_price_too(
        self, given: dict[str, Any], budgeted: Callable[..., Router]
    ) -> None:
        router = budgeted(prices={"small-1": (1.0, 2.0), "big-1": (10.0, 20.0)}, strategy=lambda request: "weak")
        models = pair()
        decision, reply = serve(router, models, replace(easy(41), **given))

        assert router.costs(decision, reply, models)["strong_usd"] == pytest.approx(0.0014)
        assert router.explain(decision.id)["strong_usd"] == pytest.approx(0.0014)

    def test_an_accepted_draft_costs_what_it_cost(self, budgeted: Callable[..., Router]) -> None:
        router = budgeted(prices=PRICES, strategy=Cascade(accept=lambda request, draft: True))
        decision = router.decide(easy(41), pair())

        assert isinstance(decision.choice, Answer)
        assert router.costs(decision, decision.choice.reply)["usd"] == pytest.approx(0.00014)

    def test_costs_never_raise(self, budgeted: Callable[..., Router], caplog: pytest.LogCaptureFixture) -> None:
        router = budgeted()
        decision = router.decide(easy(41), pair())

        assert router.costs(decision, None) == {}  # type: ignore[arg-type]
        assert "could not be told" in caplog.text


class TestFreeModels:
    @pytest.mark.parametrize("models", [pair, silent_pair])
    def test_where_all_is_free_the_budget_counts_calls(
        self, models: Callable[[], dict[str, Scripted]], budgeted: Callable[..., Router]
    ) -> None:
        router, both = budgeted(prices=FREE), models()
        learned = []
        for n in range(20):
            serve(router, both, easy(1_000 + n))
            learned.append(both["weak"].calls["shadow"])

        assert learned == [n // 5 for n in range(1, 21)]  # a learning call for each five strong answers
        assert router.stats().paused == 16

    def test_free_models_save_calls_in_the_end(self, budgeted: Callable[..., Router]) -> None:
        router, models = budgeted(prices=FREE), pair()
        for n in range(300):
            serve(router, models, easy(n % 10))

        assert router.stats().savings.served_strong < 100

    def test_a_free_weak_model_learns_all_it_can_from_a_dear_strong_one(self, budgeted: Callable[..., Router]) -> None:
        router, models = budgeted(prices={"weak": (0.0, 0.0), "strong": (10.0, 20.0)}), pair()
        for n in range(10):
            serve(router, models, easy(n))

        assert models["weak"].calls["shadow"] == models["strong"].calls["serve"]

    def test_guides_by_a_dear_strong_model_stay_in_the_budget(self, budgeted: Callable[..., Router]) -> None:
        router, models = budgeted(prices={"weak": (0.0, 0.0), "strong": (10.0, 20.0)}), pair()
        for n in range(10):
            serve(router, models, harbour(n))

        spent = {(s.purpose, s.role): s.usd for s in router.stats().spending}
        assert spent.get(("guide", "strong"), 0.0) <= 0.2 * spent["serve", "strong"]

    def test_a_dear_weak_model_beside_a_free_strong_one_is_bounded_by_calls(
        self, budgeted: Callable[..., Router]
    ) -> None:
        router, models = budgeted(prices={"weak": (5.0, 5.0), "strong": (0.0, 0.0)}), pair()
        for n in range(10):
            serve(router, models, easy(2_000 + n))

        assert models["weak"].calls["shadow"] == 2

    @pytest.mark.parametrize("prices", [{"weak": (0.1, 0.1)}, {"strong": (1.0, 1.0)}, {}])
    def test_with_a_price_unknown_weak_tokens_count_a_tenth_of_strong_ones(
        self, prices: dict[str, Any], budgeted: Callable[..., Router]
    ) -> None:
        router, models = budgeted(prices=prices), pair()
        for n in range(10):
            serve(router, models, easy(3_000 + n))

        assert models["weak"].calls["shadow"] == models["strong"].calls["serve"]

    def test_the_rule_holds_across_processes(self, path: Path) -> None:
        models = pair()
        for n in range(10):
            with make(path, learning_budget=0.2, prices=FREE) as router:
                serve(router, models, easy(4_000 + n))

        assert models["weak"].calls["shadow"] == 2


class TestWhatIsSaidOnce:
    def test_a_pause_is_said_once_with_what_to_do_and_counted(
        self, budgeted: Callable[..., Router], caplog: pytest.LogCaptureFixture, path: Path
    ) -> None:
        router = budgeted(prices=FREE)
        for n in range(4):
            serve(router, pair(), easy(n))

        (line,) = advice(caplog, "pauses")
        assert "learning_budget=None" in line
        assert router.stats().paused == 4
        router.close()
        with make(path) as later:
            assert later.stats().paused == 4

    def test_a_daily_cap_pauses_too(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with make(path, prices=PRICES, learning_usd_per_day=0.0) as router:
            serve(router, pair(), easy(1))

            assert router.stats().paused == 1
        assert "learning_usd_per_day=0.0" in advice(caplog, "pauses")[0]

    def test_a_judge_that_cannot_tell_is_said_once_and_counted(
        self, budgeted: Callable[..., Router], caplog: pytest.LogCaptureFixture
    ) -> None:
        router = budgeted(judge=lambda request, reference, candidate: None, learning_budget=None)
        models = pair()
        for n in (1, 2, 2):
            serve(router, models, easy(n))

        (line,) = advice(caplog, "could not tell")
        assert "judge='llm'" in line
        assert "41" not in line
        assert router.stats().undecided == 3  # also where it was not tried again, for it could not tell before
        assert models["weak"].calls == Counter(shadow=2)

    def test_an_unknown_price_is_said_once_and_counted(
        self, budgeted: Callable[..., Router], caplog: pytest.LogCaptureFixture
    ) -> None:
        router = budgeted()
        for n in range(3):
            serve(router, pair(), easy(n))

        (line,) = advice(caplog, "No price")
        assert "prices={'big-1'" in line
        assert router.stats().unpriced == sum(spend.calls for spend in router.stats().spending)

    def test_nothing_is_said_where_all_is_well(
        self, budgeted: Callable[..., Router], caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "rar"):
            router = budgeted(prices=PRICES)
            for n in range(3):
                serve(router, pair(), easy(n))

        assert caplog.records == []
        stats = router.stats()
        assert (stats.paused, stats.undecided, stats.unpriced, stats.estimated) == (0, 0, 0, 0)


def failing(call: Call) -> str:
    raise TimeoutError("slow")


class TestWhyNothingWasLearned:
    @pytest.mark.parametrize(
        ("code", "given", "options"),
        [
            ("asked_not_to", {"learn": False}, {}),
            ("forced", {"force": "strong"}, {}),
            ("forced", {"force": "weak"}, {}),
            ("continued_turn", {"sticky": Route("weak")}, {}),
            ("no_key", {"key": None}, {}),
            ("off", {}, {"learning": "off"}),
            ("budget", {}, {"learning_budget": 0.0}),
            ("undecided", {}, {"judge": lambda request, reference, candidate: None}),
            ("not_served", {}, {"strategy": lambda request: "coder"}),
        ],
    )
    def test_each_code_is_kept_with_its_decision(
        self, code: str, given: dict[str, Any], options: dict[str, Any], path: Path
    ) -> None:
        models: dict[str, Any] = pair() | {"coder": FunctionModel(lambda messages: "41", "coder-1")}
        with make(path, **options) as router:
            decision, _ = serve(router, models, replace(easy(41), **given))

            facts = router.explain(decision.id)
            assert (facts["not_learned"], NOT_LEARNED[code] in facts["in_words"][-1]) == (code, True)
            assert router.stats().memory.not_learned == {code: 1}  # type: ignore[union-attr]

    def test_what_was_learned_or_was_not_due_has_no_code(self, path: Path) -> None:
        with make(path) as router:
            models = pair()
            ids = [serve(router, models, request)[0].id for request in (easy(41), easy(41), harbour(3))]

            assert [router.explain(id).get("not_learned") for id in ids] == [None] * 3

    def test_a_guide_that_the_budget_has_no_room_for_yet_leaves_the_rest_learned(self, path: Path) -> None:
        with make(path, learning_budget=0.2, prices=PRICES) as router:
            decision, _ = serve(router, pair(), harbour(3))

            facts = router.explain(decision.id)
        assert "BudgetError" in facts["learned"]["stopped"]
        assert "not_learned" not in facts

    def test_a_shadow_call_that_fails(self, path: Path) -> None:
        with make(path) as router:
            models = {**pair(), "weak": Scripted("small-1", failing)}
            decision, _ = serve(router, models, easy(41))

            assert router.explain(decision.id)["not_learned"] == "call_failed"

    def test_a_model_that_failed_over(self, path: Path) -> None:
        with make(path, strategy=lambda request: "weak") as router:
            models = pair()
            decision = router.failover(router.decide(easy(41), models), TimeoutError("slow"))
            router.learn(decision, models["strong"].call(decision.call), models)

            assert router.explain(decision.id)["not_learned"] == "failed_over"

    def test_an_empty_strong_answer_costs_no_shadow_call(self, path: Path) -> None:
        with make(path) as router:
            models = {**pair(), "strong": Scripted("big-1", lambda call: " ")}
            decision, _ = serve(router, models, easy(41))

            assert router.explain(decision.id)["not_learned"] == "not_served"
            assert models["weak"].calls == Counter()

    def test_a_memory_that_could_not_be_searched(self, path: Path) -> None:
        class Torn(SQLiteMemory):
            def recall(self, *args: Any, **kwargs: Any) -> Any:
                raise OSError("disk is gone")

        with make(Torn(path)) as router:
            decision, _ = serve(router, pair(), easy(41))

            assert router.explain(decision.id)["not_learned"] == "call_failed"

    def test_a_lesson_that_breaks_keeps_its_decision(self, path: Path) -> None:
        class Torn(SQLiteMemory):
            def search_guides(self, *args: Any, **kwargs: Any) -> Any:
                if threading.current_thread().name == "rar-learning":
                    raise OSError("disk is gone")
                return super().search_guides(*args, **kwargs)

        with make(Torn(path), learning="background") as router:
            decision, _ = serve(router, pair(), easy(41))
            router.flush(20)

            assert router.explain(decision.id)["not_learned"] == "call_failed"

    def test_what_a_read_only_router_decided(self, path: Path) -> None:
        make(path).close()
        with make(path, read_only=True) as router:
            decision, _ = serve(router, pair(), easy(41))

            assert router.explain(decision.id)["not_learned"] == "read_only"

    def test_an_answer_that_never_came(self, path: Path) -> None:
        with make(path) as router:
            assert router.explain(router.decide(easy(41), pair()).id)["not_learned"] == "not_served"

    def test_lessons_that_are_dropped_keep_their_decisions(self, path: Path) -> None:
        go = threading.Event()
        begun = threading.Event()

        def slow(call: Call) -> str:
            begun.set()
            go.wait(20)
            return weak_answer(call)

        router = make(path, learning="background")
        router._learning.worker._limit = 2
        models = {**pair(), "weak": Scripted("small-1", slow)}
        ids = [serve(router, models, easy(41))[0].id]
        assert begun.wait(20)
        ids += [serve(router, models, easy(n))[0].id for n in (42, 43, 44)]
        router.close(timeout=0.05)
        go.set()

        with make(path) as later:
            codes = {id: later.explain(id).get("not_learned") for id in ids[1:]}
            assert codes == dict.fromkeys(ids[1:], "dropped")
            assert later.stats().memory.not_learned["dropped"] == 3  # type: ignore[union-attr]

    def test_facts_hold_no_text_but_the_question(self, path: Path) -> None:
        with make(path, store_text=False) as router:
            request = Request((Message("user", "Ada asks: repeat 41"),), key="Ada asks: repeat 41", key_source="given")
            decision, _ = serve(
                router,
                {**pair(), "weak": Scripted("a", lambda c: "41"), "strong": Scripted("b", lambda c: "41")},
                request,
            )

            assert "Ada" not in json.dumps(router.explain(decision.id))

    def test_a_question_alone_is_enough(self, path: Path) -> None:
        with make(path) as router:
            assert serve(router, pair(), question(easy(5).key or ""))[0].as_dict()["why"].startswith("Nothing like")
