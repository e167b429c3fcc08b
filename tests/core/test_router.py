"""The router as a plugin uses it, on a real memory file, with scripted models."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar import FunctionModel, Router, SQLiteMemory
from rar.errors import (
    ClosedError,
    ConfigurationError,
    EmbedderMismatchError,
    MissingModelError,
    SameModelError,
    UnknownDecisionError,
    UnknownModelError,
    UnknownNameError,
)
from rar.learning.policy import FloorPolicy
from rar.memory.base import AGAIN, state_of
from rar.router import FORCE_VARIABLE
from rar.routers import LengthRouter, Outcomes
from rar.strategies import Cascade
from rar.values import Answer, Call, Failure, Message, Reply, Request, Route, Usage, question
from tests.core.world import GUIDES, Scripted, easy, harbour, orchard, pair, serve, strong_answer, weak_answer


def make(memory: Any, **options: Any) -> Router:
    defaults = {"embedder": "hashing", "learning": "inline", "learning_budget": None, "audit_rate": 0.0, "seed": 1}
    return Router(memory=memory, **(defaults | options))


def trusting() -> LengthRouter:
    """A static router that was fitted to questions of which the weak model could answer nearly all."""
    scores = np.ones((200, 2))
    scores[:2, 0] = 0.0
    return LengthRouter().fit(Outcomes(tuple(f"question {n}" for n in range(200)), scores, ("weak", "strong")))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rar.db"


@pytest.fixture
def router(path: Path) -> Iterator[Router]:
    with make(path) as router:
        yield router


class TestLearning:
    def test_rung_a_a_request_that_weak_can_answer_is_served_by_weak_from_then_on(self, router: Router) -> None:
        models = pair()
        first, _ = serve(router, models, easy(41))
        second, reply = serve(router, models, easy(41))

        assert (first.model, first.choice.reason) == ("strong", "no_evidence")
        assert (second.model, second.choice.reason) == ("weak", "memory_weak")
        assert reply.text == "41"
        assert models["weak"].calls == Counter(shadow=1, serve=1)
        assert models["strong"].calls == Counter(serve=1)

    def test_rung_c_a_guide_is_written_verified_and_served(self, router: Router) -> None:
        models = pair()
        serve(router, models, harbour(12))

        assert models["strong"].calls == Counter(serve=1, guide=1)
        assert models["weak"].calls == Counter(shadow=1, guide=2)
        assert router.decide(harbour(12), models).model == "strong"  # its own request proves too little

        for tonnes in (13, 14):
            serve(router, models, harbour(tonnes))
        decision, reply = serve(router, models, harbour(12))

        assert (decision.model, decision.choice.reason) == ("weak", "memory_guided")
        assert decision.guide is not None
        assert decision.guide.text == GUIDES["harbour"]
        assert reply.text == "36"
        assert models["strong"].calls["guide"] == 1

    def test_the_published_rule_serves_a_guide_that_helped_its_own_request(self, path: Path) -> None:
        with make(path, policy="paper") as router:
            models = pair()
            serve(router, models, harbour(12))

            assert router.decide(harbour(12), models).choice.reason == "memory_guided"

    def test_rung_b_a_kindred_request_is_learned_by_the_older_guide_without_a_new_one(self, router: Router) -> None:
        models = pair()
        serve(router, models, harbour(12))
        before = models["strong"].calls.copy()

        serve(router, models, harbour(77))

        assert models["strong"].calls - before == Counter(serve=1)
        assert models["weak"].calls == Counter(shadow=1 + 2, guide=2)

    def test_a_new_kindred_request_is_served_with_the_older_guide_once_it_has_a_record(self, router: Router) -> None:
        models = pair()
        for tonnes in range(10, 22):
            serve(router, models, harbour(tonnes))
        guides = router.memory.guides() if router.memory else []

        decision, reply = serve(router, models, harbour(95))

        assert len(guides) == 1
        assert (decision.model, decision.choice.reason) == ("weak", "likely_guided")
        assert decision.guide is not None
        assert decision.guide.id == guides[0].id
        assert reply.text == "285"

    def test_guides_of_another_kind_are_not_used(self, router: Router) -> None:
        models = pair()
        for tonnes in range(10, 22):
            serve(router, models, harbour(tonnes))

        decision, reply = serve(router, models, orchard(5))

        assert decision.model == "strong"
        assert reply.text == "705"

    def test_rung_d_what_only_strong_can_answer_stays_with_strong_and_is_not_tried_again_soon(self, path: Path) -> None:
        now = [1_000.0]
        with make(path, clock=lambda: now[0], retry_after=500.0) as router:
            models = {"weak": Scripted("small-1", lambda call: "-1"), "strong": Scripted("big-1", strong_answer)}
            serve(router, models, harbour(12))
            tried = models["weak"].calls.copy()
            again, _ = serve(router, models, harbour(12))

            assert tried == Counter(shadow=1, guide=1)
            assert (again.model, again.choice.reason) == ("strong", "memory_strong")
            assert models["weak"].calls == tried

            now[0] += 500.0
            serve(router, models, harbour(12))

            # It is tried again, but no other guide is written for what the first did not help.
            assert models["weak"].calls == Counter(shadow=2, guide=1)

    def test_what_was_learned_about_another_weak_model_is_unproven_and_retried(self, router: Router) -> None:
        serve(router, pair(), easy(41))
        upgraded = {"weak": Scripted("small-2", weak_answer), "strong": Scripted("big-1", strong_answer)}

        first, _ = serve(router, upgraded, easy(41))
        second, _ = serve(router, upgraded, easy(41))

        assert first.model == "strong"
        assert upgraded["weak"].calls == Counter(shadow=1, serve=1)
        assert second.model == "weak"

    def test_given_ids_stand_for_the_models_own(self, path: Path) -> None:
        with make(path, weak_id="ours") as router:
            serve(router, pair(), easy(41))
            renamed = {"weak": Scripted("small-2", weak_answer), "strong": Scripted("big-1", strong_answer)}

            assert router.decide(easy(41), renamed).model == "weak"

    def test_a_guess_is_audited_without_a_second_strong_call(self, path: Path) -> None:
        with make(path, audit_rate=1.0, guides=False, static_router=trusting()) as router:
            models = pair()
            decision, _ = serve(router, models, easy(41))

            assert (decision.model, decision.choice.reason) == ("strong", "audit")
            assert (models["strong"].calls, models["weak"].calls) == (Counter(serve=1), Counter(audit=1))
            assert router.memory is not None
            assert router.memory.policy_state("default").audits == 1

    def test_an_audit_that_the_strong_model_fails_costs_nobody_an_answer(self, path: Path) -> None:
        with make(path, audit_rate=1.0, static_router=trusting()) as router:
            models = pair()
            decision = router.decide(easy(41), models)
            after = router.failover(decision, RuntimeError("the strong model is down"))

            assert (decision.choice.reason, after.model) == ("audit", "weak")

    @pytest.mark.parametrize("off", [{"learning": "off"}, {"read_only": True}])
    def test_nothing_is_audited_where_nothing_is_learned(self, path: Path, off: dict[str, Any]) -> None:
        make(path).close()
        with make(path, audit_rate=1.0, static_router=trusting(), **off) as router:
            assert router.decide(easy(41), pair()).choice.reason == "likely_weak"

    def test_an_audit_that_fails_demotes_the_request(self, path: Path) -> None:
        with make(path, audit_rate=1.0, guides=False) as router:
            models = pair()
            serve(router, models, easy(41))
            models["weak"].answer = lambda call: "-1"
            audited, _ = serve(router, models, easy(41))
            after, _ = serve(router, models, easy(41))

            assert (audited.model, after.model) == ("weak", "strong")
            assert models["strong"].calls == Counter(serve=2, audit=1)
            assert router.memory is not None
            assert router.memory.policy_state("default", state_of("", AGAIN)).errors == 1

    def test_feedback_demotes_what_was_served(self, router: Router) -> None:
        models = pair()
        serve(router, models, easy(41))
        decision, _ = serve(router, models, easy(41))

        router.feedback(decision.id, good=False)

        assert decision.model == "weak"
        assert router.decide(easy(41), models).model == "strong"

    def test_feedback_reaches_decisions_of_an_earlier_process(self, path: Path) -> None:
        models = pair()
        with make(path) as router:
            serve(router, models, easy(41))
            decision, _ = serve(router, models, easy(41))
        with make(path) as router:
            router.feedback(decision.id, good=False)

            assert router.decide(easy(41), models).model == "strong"

    def test_feedback_on_an_unknown_decision_says_so(self, router: Router) -> None:
        with pytest.raises(UnknownDecisionError, match="no-such-id"):
            router.feedback("no-such-id", good=True)

    def test_learning_stops_at_its_budget_and_serving_goes_on(self, path: Path) -> None:
        with make(path, learning_budget=0.0) as router:
            models = pair()
            for _ in range(2):
                decision, reply = serve(router, models, easy(41))

                assert decision.model == "strong"
                assert reply.text == "41"
            assert models["weak"].calls == Counter()

    def test_what_no_judge_can_decide_is_not_tried_each_time_that_it_is_asked(self, path: Path) -> None:
        with make(path, judge=lambda request, reference, candidate: None) as router:
            models = pair()
            for _ in range(3):
                assert serve(router, models, easy(41))[0].model == "strong"
            assert models["weak"].calls == Counter(shadow=1)

    def test_a_judge_that_raises_teaches_nothing(self, path: Path) -> None:
        def judge(request: Request, reference: Reply, candidate: Reply) -> bool:
            raise RuntimeError("no idea")

        with make(path, judge=judge) as router:
            models = pair()
            serve(router, models, easy(41))

            assert serve(router, models, easy(41))[0].model == "strong"

    def test_read_only_routers_use_what_was_learned_and_learn_nothing(self, path: Path) -> None:
        models = pair()
        with make(path) as router:
            serve(router, models, easy(41))
        with make(path, read_only=True) as router:
            assert serve(router, models, easy(41))[0].model == "weak"
            serve(router, models, easy(42))
            assert models["weak"].calls == Counter(shadow=1, serve=1)
            assert router.memory is not None
            assert router.memory.stats().experiences == 1

    def test_namespaces_learn_apart(self, router: Router) -> None:
        models = pair()
        serve(router, models, easy(41))

        other = router.decide(question(easy(41).key or "", namespace="other"), models)

        assert other.model == "strong"

    def test_tasks_learn_apart(self, router: Router) -> None:
        models = pair()
        serve(router, models, easy(41))

        assert router.decide(question(easy(41).key or "", task="tools:1234"), models).model == "strong"

    def test_a_near_twin_with_another_number_is_not_the_same_request(self, router: Router) -> None:
        models = pair()
        serve(router, models, easy(41))

        decision = router.decide(easy(42), models)

        assert decision.choice.reason != "memory_weak"

    def test_text_can_be_kept_out_of_the_memory(self, path: Path) -> None:
        with make(path, store_text=False) as router:
            models = pair()
            decision, _ = serve(router, models, question("Please repeat this secret number after me: 4242424242"))
            again, _ = serve(router, models, question("Please repeat this secret number after me: 4242424242"))
            assert again.model == "weak"
            router.flush()
            assert "question" not in router.explain(decision.id)
        assert all(b"4242424242" not in file.read_bytes() for file in path.parent.iterdir())

    def test_redaction_runs_before_anything_is_written_and_look_up_still_works(self, path: Path) -> None:
        with make(path, redact=lambda text: text.replace("Ada Lovelace", "<name>")) as router:
            models = pair()
            secret = question("Please repeat this for Ada Lovelace, number 77")
            serve(router, models, secret)
            assert serve(router, models, secret)[0].model == "weak"
        assert all(b"Lovelace" not in file.read_bytes() for file in path.parent.iterdir())

    @pytest.mark.parametrize("given", [{"force": "weak"}, {"force": "strong"}, {"sticky": Route("weak")}])
    def test_redaction_holds_for_requests_that_are_not_looked_up(self, path: Path, given: dict[str, Any]) -> None:
        with make(path, redact=lambda text: text.replace("Ada Lovelace", "<name>")) as router:
            decision, _ = serve(router, pair(), question("Please repeat this for Ada Lovelace, number 77", **given))

            kept = router.explain(decision.id).get("question")
            # What must not reach the strong model is not kept at all.
            assert kept == (None if given == {"force": "weak"} else "Please repeat this for <name>, number 77")
        assert all(b"Lovelace" not in file.read_bytes() for file in path.parent.iterdir())

    async def test_a_redaction_that_raises_stores_nothing_and_loses_no_answer(self, path: Path) -> None:
        def redact(text: str) -> str:
            raise RuntimeError("no idea")

        with make(path, redact=redact) as router:
            decision, reply = serve(router, pair(), easy(41))

            assert (decision.model, reply.text) == ("strong", "41")
            assert (await router.adecide(easy(42), pair())).model == "strong"
            assert router.memory is not None
            assert router.memory.stats().experiences == 0


class TestDegradation:
    def test_without_a_memory_the_static_router_decides(self) -> None:
        with make(None, policy="paper", static_router=lambda text: 0.2) as router:
            assert router.decide(easy(1), pair()).choice == Route(
                "weak", reason="static_weak", confidence=0.8, expected=pytest.approx(0.2)
            )

    def test_a_static_router_that_raises_is_passed_over(self) -> None:
        with make(None, static_router=lambda text: 1 / 0) as router:
            assert router.decide(easy(1), pair()).model == "strong"

    def test_an_embedder_that_raises_leaves_the_strong_model_and_is_logged_once(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken:
            id, dim = "broken", 4

            def embed(self, texts: list[str]) -> np.ndarray[Any, Any]:
                raise RuntimeError("out of memory")

        with make(path, embedder=Broken()) as router, caplog.at_level(logging.WARNING, "rar"):
            for n in range(3):
                assert serve(router, pair(), easy(n))[0].model == "strong"

        assert caplog.text.count("the strong model answers. RuntimeError at test_router.py:") == 1

    def test_a_strategy_that_raises_leaves_the_strong_model(self, path: Path) -> None:
        def strategy(request: Request) -> Route:
            raise ValueError("a bug")

        with make(path, strategy=strategy) as router:
            assert router.decide(easy(1), pair()).choice == Route("strong", reason="strategy_failed")

    @pytest.mark.parametrize("choice", ["huge", None, 3])
    def test_a_strategy_that_returns_nonsense_leaves_the_strong_model(self, path: Path, choice: Any) -> None:
        with make(path, strategy=lambda request: choice) as router:
            assert router.decide(easy(1), pair()).model == "strong"

    def test_a_memory_that_breaks_while_in_use_costs_evidence_only(self, path: Path) -> None:
        class Torn(SQLiteMemory):
            def search(self, *args: Any, **kwargs: Any) -> Any:
                raise OSError("disk is gone")

            def write(self, *args: Any, **kwargs: Any) -> Any:
                raise OSError("disk is gone")

        with make(Torn(path)) as router:
            decision, reply = serve(router, pair(), easy(41))
            assert (decision.model, reply.text) == ("strong", "41")

    def test_a_closed_router_still_gets_answers_from_the_strong_model(self, path: Path) -> None:
        router = make(path)
        serve(router, pair(), easy(41))
        router.close()
        router.close()

        decision, reply = serve(router, pair(), easy(41))

        assert (decision.model, decision.choice.reason, reply.text) == ("strong", "closed", "41")
        for use in (router.stats, lambda: router.explain("x"), lambda: router.feedback("x", good=True)):
            with pytest.raises(ClosedError, match="router is closed"):
                use()

    def test_weak_failing_falls_over_to_strong_and_the_outage_teaches_nothing(self, router: Router) -> None:
        models = pair()
        serve(router, models, easy(41))
        decision = router.decide(easy(41), models)
        assert decision.model == "weak"

        second = router.failover(decision, TimeoutError("slow"))
        router.learn(second, Reply("strong", "41"), models)

        assert (second.id, second.model, second.choice.reason) == (decision.id, "strong", "weak_failed")
        assert second.as_dict()["failed_over"] == ["weak"]
        assert models["weak"].calls == Counter(shadow=1)
        with pytest.raises(ConnectionError, match="also down"):
            router.failover(second, ConnectionError("also down"))

    def test_strong_failing_raises_unless_degrading_is_allowed(self, path: Path) -> None:
        with make(path) as router, pytest.raises(TimeoutError):
            router.failover(router.decide(easy(1), pair()), TimeoutError("slow"))
        with make(path, degrade=True) as router:
            assert router.failover(router.decide(easy(1), pair()), TimeoutError("slow")).model == "weak"

    def test_a_forced_model_is_never_failed_over_nor_audited_nor_learned_from(self, path: Path) -> None:
        with make(path, audit_rate=1.0) as router:
            models = pair()
            private = question("Please repeat this number: 41", force="weak")
            decision, _ = serve(router, models, private)

            assert decision.choice.reason == "forced"
            assert models["strong"].calls == Counter()
            assert router.memory is not None
            assert router.memory.stats().experiences == 0
            with pytest.raises(TimeoutError):
                router.failover(decision, TimeoutError("slow"))

    def test_the_kill_switch_sends_everything_to_strong_and_learns_nothing(
        self, router: Router, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        models = pair()
        serve(router, models, easy(41))
        monkeypatch.setenv(FORCE_VARIABLE, "strong")

        for request in (easy(41), easy(42)):
            assert serve(router, models, request)[0].model == "strong"
        assert models["weak"].calls == Counter(shadow=1)

    def test_a_request_without_a_question_is_routed_statically_and_not_learned(self, path: Path) -> None:
        with make(path, policy="paper", static_router=lambda text: 0.1) as router:
            models = pair()
            decision = router.decide(Request((Message("system", "Say hello."),)), models)
            router.learn(decision, Reply("weak", "hello"), models)

            assert decision.choice.reason == "static_weak"
            assert router.memory is not None
            assert router.memory.stats().experiences == 0

    def test_a_continued_turn_keeps_its_model_and_guide(self, router: Router) -> None:
        sticky = question("Please repeat this number: 41", sticky=Route("weak", reason="memory_weak"))

        decision = router.decide(sticky, pair())

        assert (decision.model, decision.choice.reason) == ("weak", "sticky")

    @pytest.mark.parametrize("text", ["\ud800 lone", "x" * 1_000_000, "   ", "\x00", "🙂" * 1_000])
    def test_strange_texts_are_answered_and_survive_the_memory(self, router: Router, text: str) -> None:
        models = {"weak": FunctionModel(lambda m: "ok", "small"), "strong": FunctionModel(lambda m: "ok", "big")}
        for expected in ("strong", "weak"):
            decision = router.decide(question(text), models)
            router.learn(decision, models[decision.model].call(decision.call), models)
            assert decision.model == expected


class TestBadInput:
    def test_no_messages_are_left_to_the_strong_model(self, router: Router) -> None:
        decision = router.decide(Request(()), pair())

        assert (decision.model, decision.choice.reason, decision.request.learn) == ("strong", "no_messages", False)

    def test_forcing_an_unknown_model_is_the_callers_error(self, router: Router) -> None:
        with pytest.raises(UnknownModelError, match="huge"):
            router.decide(question("x", force="huge"), pair())

    def test_a_missing_model_is_named(self) -> None:
        with pytest.raises(MissingModelError, match="No strong model"):
            Router(weak=lambda messages: "x", memory=None)
        with make(None) as router, pytest.raises(MissingModelError):
            router.decide(easy(1))

    def test_one_model_twice_is_refused(self) -> None:
        one = FunctionModel(lambda messages: "x", "gpt-4o")
        with pytest.raises(SameModelError, match="gpt-4o"):
            Router(one, one, memory=None)
        Router(one, one, memory=None, weak_id="gpt-4o (fine-tuned)").close()

    @pytest.mark.parametrize(
        ("options", "error", "words"),
        [
            ({"quality": 0.0}, ConfigurationError, "quality"),
            ({"quality": 1.5}, ConfigurationError, "quality"),
            ({"audit_rate": 2.0}, ConfigurationError, "audit_rate"),
            ({"policy": "best"}, UnknownNameError, "policy='best'"),
            ({"judge": "psychic"}, UnknownNameError, "judge='psychic'"),
            ({"strategy": "magic"}, UnknownNameError, "strategy='magic'"),
            ({"embedder": "word2vec"}, UnknownNameError, "embedder='word2vec'"),
            ({"learning": "later"}, UnknownNameError, "learning='later'"),
            ({"learning_budget": -0.1}, ConfigurationError, "learning_budget"),
            ({"prices": {"gpt": 3}}, ConfigurationError, "prices"),
            ({"static_router": 3}, ConfigurationError, "static_router"),
        ],
    )
    def test_options_that_cannot_work_are_refused_at_once(
        self, path: Path, options: dict[str, Any], error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            make(path, **options)

    def test_another_embedder_than_the_memorys_is_refused(self, path: Path) -> None:
        make(path, embedder="hashing").close()

        class Other:
            id, dim = "other", 3

            def embed(self, texts: list[str]) -> np.ndarray[Any, Any]:
                return np.ones((len(texts), 3), np.float32) / np.sqrt(3, dtype=np.float32)

        with pytest.raises(EmbedderMismatchError, match="other"):
            make(path, embedder=Other())


class TestLooking:
    def test_stats_count_every_call_by_purpose_and_show_the_net_saving(self, path: Path) -> None:
        with make(path, prices={"weak": (1.0, 1.0), "strong": (10.0, 10.0)}) as router:
            models = pair()
            for _ in range(10):
                serve(router, models, easy(41))

            stats = router.stats()

        calls = {(spend.purpose, spend.role): spend.calls for spend in stats.spending}
        assert calls == {("serve", "strong"): 1, ("shadow", "weak"): 1, ("serve", "weak"): 9}
        per_call = 120 / 1e6
        assert stats.savings.always_strong_usd == pytest.approx(10 * 10 * per_call)
        assert stats.savings.net_usd == pytest.approx((100 - 10 - 9 - 1) * per_call)
        assert json.dumps(stats.as_dict())

    def test_spending_of_earlier_processes_is_added(self, path: Path) -> None:
        models = pair()
        for _ in range(2):
            with make(path) as router:
                serve(router, models, easy(41))
        with make(path) as router:
            assert router.stats().savings.served == 2

    def test_a_decision_explains_itself_with_its_neighbours_and_what_was_learned(self, router: Router) -> None:
        models = pair()
        first, _ = serve(router, models, easy(41))
        second, _ = serve(router, models, easy(41))

        learned, used = router.explain(first.id), router.explain(second.id)

        judged = {"model": "weak", "guide_id": None, "ok": True, "judge": "number", "gap": None, "drawn": False}
        (attempt,) = learned["learned"]["attempts"]
        assert all(isinstance(sign, float) for sign in attempt.pop("signs"))
        assert attempt == judged
        assert used["reason"] == "memory_weak"
        assert used["neighbours"][0]["text"] == easy(41).key
        assert used["neighbours"][0]["same"] is True
        assert used["neighbours"][0]["tallies"][0]["ok"] == 1
        assert json.dumps([learned, used])

    def test_the_last_decisions_can_be_listed(self, router: Router) -> None:
        models = pair()
        ids = [serve(router, models, easy(n))[0].id for n in (41, 42, 43)]

        assert [facts["decision_id"] for facts in router.decisions(limit=2)] == [ids[2], ids[1]]

    def test_decisions_carry_no_text(self, router: Router) -> None:
        decision, _ = serve(router, pair(), harbour(12))
        guided, _ = serve(router, pair(), harbour(12))

        assert "harbour" not in json.dumps([decision.as_dict(), guided.as_dict()])

    def test_repr_shows_no_model(self, path: Path) -> None:
        weak, strong = FunctionModel(lambda m: "", "sk-secret"), FunctionModel(lambda m: "", "other")
        with make(path, weak=weak, strong=strong) as router:
            assert "sk-secret" not in repr(router)

    async def test_the_async_router_decides_the_same(self, router: Router) -> None:
        models = pair()
        first = await router.adecide(easy(41), models)
        router.learn(first, await models["strong"].acall(first.call), models)
        second = await router.adecide(easy(41), models)

        assert (first.model, second.model) == ("strong", "weak")
        assert await router.aflush(10)

    def test_an_accepted_draft_is_an_answer_that_was_counted_once(self, path: Path) -> None:
        with make(path, strategy=Cascade(accept=lambda request, draft: draft.text == "41")) as router:
            models = pair()
            decision = router.decide(easy(41), models)
            assert isinstance(decision.choice, Answer)
            router.learn(decision, decision.choice.reply, models)
            router.decide(harbour(3), models)

            assert decision.drafts == 1
            spending = [(s.purpose, s.role, s.calls) for s in router.stats().spending]
            assert spending == [("draft", "weak", 1), ("serve", "weak", 1)]

    @pytest.mark.parametrize(("accepted", "net"), [(False, -0.1), (True, 0.9)])
    def test_a_request_is_served_counted_and_priced_once_whatever_was_drafted(
        self, accepted: bool, net: float, path: Path
    ) -> None:
        prices = {"weak": (1.0, 1.0), "strong": (10.0, 10.0)}
        cascade = Cascade(accept=lambda request, draft: accepted)
        models = {
            "weak": Scripted("small-1", lambda call: "red"),
            "strong": Scripted("big-1", lambda call: "red"),
        }
        with make(path, strategy=cascade, prices=prices, learning="off") as router:
            for n in range(10):
                decision = router.decide(question(f"colour {n}"), models)
                if isinstance(decision.choice, Answer):
                    router.learn(decision, decision.choice.reply, models)
                else:
                    router.learn(decision, models[decision.model].call(decision.call), models)
            saved = router.stats().savings

        assert (saved.served, saved.served_strong) == (10, 0 if accepted else 10)
        assert saved.net_share == pytest.approx(net)
        assert saved.learning_usd == 0.0

    def test_an_answer_made_of_several_drafts_is_one_served_request(self, path: Path) -> None:
        class Fused:
            def steps(self, request: Request) -> Any:
                drafts = yield [Call("weak", request), Call("strong", request)]
                return Answer(Reply("strong", " and ".join(draft.text for draft in drafts)), "fused")

        with make(path, strategy=Fused()) as router:
            router.decide(easy(1), pair())

            spending = {(s.purpose, s.role): s.calls for s in router.stats().spending}
            assert spending == {("draft", "weak"): 1, ("draft", "strong"): 1, ("serve", "strong"): 1}

    def test_a_refused_reply_is_paid_for_and_served_nobody(self, path: Path) -> None:
        with make(path, strategy=lambda _: "weak") as router:
            decision = router.decide(easy(1), pair())
            router.refused(decision, Reply("weak", "", usage=Usage(10, 0), model_id="small-1"))

            assert [(s.purpose, s.role, s.calls) for s in router.stats().spending] == [("draft", "weak", 1)]

    def test_an_answer_that_is_no_reply_is_refused(self, path: Path) -> None:
        def failed(request: Request) -> Any:
            return Answer(Failure("weak", ConnectionError("down")))  # type: ignore[arg-type]

        with make(path, strategy=failed) as router:
            assert router.decide(easy(1), pair()).choice.reason == "strategy_failed"


class TestSharing:
    def test_a_router_copies_to_itself_and_pickles_to_its_settings(self, path: Path) -> None:
        with make(path, quality=0.8) as router:
            assert copy.deepcopy(router) is router
            with pickle.loads(pickle.dumps(router)) as twin:
                assert twin.policy == FloorPolicy(0.8, 0.0)
                assert twin.memory.where == router.memory.where  # type: ignore[union-attr]

    def test_64_threads_share_one_router(self, path: Path) -> None:
        with make(path, learning="background") as router:
            errors: list[BaseException] = []

            def work(n: int) -> None:
                try:
                    models = pair()
                    for k in range(5):
                        _, reply = serve(router, models, easy(n * 5 + k))
                        assert reply.text == str(n * 5 + k)
                except BaseException as error:
                    errors.append(error)

            threads = [threading.Thread(target=work, args=(n,)) for n in range(64)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

            assert errors == []
            assert router.flush(60)
            assert router.stats().savings.served == 320

    def test_another_process_decides_by_what_this_one_learned(self, path: Path) -> None:
        with make(path) as router:
            serve(router, pair(), easy(41))
            code = (
                "import sys; from tests.core.test_router import make; from tests.core.world import easy, pair\n"
                "with make(sys.argv[1]) as router: print(router.decide(easy(41), pair()).model)"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=60
            )

        assert done.stdout.strip() == "weak"

    @pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
    def test_what_was_learned_survives_the_death_of_its_process(self, path: Path) -> None:
        code = (
            "import os, signal, sys; from tests.core.test_router import make; from tests.core.world import *\n"
            "router, models = make(sys.argv[1]), pair()\n"
            "for request in (easy(41), harbour(12), harbour(13), harbour(14)): serve(router, models, request)\n"
            "os.kill(os.getpid(), signal.SIGKILL)"
        )
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=False, timeout=60)

        assert done.returncode == -signal.SIGKILL
        with make(path) as router:
            reasons = [router.decide(request, pair()).choice.reason for request in (easy(41), harbour(12), orchard(3))]
        assert reasons[:2] == ["memory_weak", "memory_guided"]
        assert reasons[2] in {"no_evidence", "below_threshold"}

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
    def test_a_forked_child_routes_and_learns(self, path: Path) -> None:
        with make(path, learning="background") as router:
            serve(router, pair(), easy(41))
            assert router.flush(20)
            child = os.fork()
            if child == 0:  # pragma: no cover - runs in the child
                fine = False
                try:
                    served, _ = serve(router, pair(), easy(41))
                    serve(router, pair(), easy(99))
                    fine = served.model == "weak" and router.flush(20)
                finally:
                    os._exit(0 if fine else 1)
            assert os.waitpid(child, 0)[1] == 0

            assert router.decide(easy(99), pair()).model == "weak"
