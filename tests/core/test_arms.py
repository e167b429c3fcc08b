"""Any number of models: their order, what is learned of each, which answers, and who takes over when one fails."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar import Router
from rar.evidence import Evidence, Standing
from rar.health import ILL_AFTER, REST, Health
from rar.learning.judges import ExactJudge
from rar.learning.policy import FloorPolicy, Judged
from rar.learning.shadow import Ladder
from rar.learning.verdicts import due
from rar.limits import Limits
from rar.memory.base import PolicyState
from rar.order import standings
from rar.strategy import Steps
from rar.turn import Turn
from rar.values import (
    STRONG,
    WEAK,
    Answer,
    Arm,
    Call,
    Choice,
    Experience,
    Match,
    Reply,
    Request,
    Route,
    Tally,
    Usage,
    question,
)
from tests.core.test_ladder import QUESTION, REFERENCE, RIGHT, WRONG, guide, play
from tests.core.world import Scripted, easy, serve

MID = "mid"
PRICES = {"small-1": (0.1, 0.1), "middle-1": (1.0, 1.0), "big-1": (10.0, 10.0)}
IDS = {WEAK: "small-1", MID: "middle-1", STRONG: "big-1"}


def three(weak: float = 0.5, mid: float = 0.1, **fields: Any) -> Evidence:
    """Evidence of a weak and a middle model with these expected gaps; the middle one costs a tenth as much again."""
    known = (Standing(WEAK, "small-1", 0.0, learned=weak), Standing(MID, "middle-1", 0.1, learned=mid))
    return Evidence("big-1", known, **{"state": PolicyState(threshold=0.8, calls=10**6), **fields})


def seen(*tallies: tuple[str, bool]) -> Match:
    kept = tuple(Tally(None, id, "big-1", int(ok), int(not ok), ok, 1.0) for id, ok in tallies)
    return Match(Experience("e", "default", "answer", "q", "s", np.zeros(0, np.float32), kept), 1.0, same=True)


class TestOrder:
    def test_models_stand_by_what_a_call_costs_and_those_that_save_nothing_do_not_take_part(self) -> None:
        costs = {WEAK: 1.0, "dear": 12.0, MID: 4.0, STRONG: 11.0}

        found = standings(costs, {name: name for name in costs})

        assert [(one.model, one.cost) for one in found] == [(WEAK, 0.0), (MID, pytest.approx(0.3))]

    def test_the_weak_model_takes_part_whatever_it_costs(self) -> None:
        found = standings({WEAK: 5.0, STRONG: 1.0}, {WEAK: "w", STRONG: "s"})

        assert [(one.model, one.cost) for one in found] == [(WEAK, 0.0)]

    def test_a_middle_model_that_is_the_cheapest_comes_first(self) -> None:
        found = standings({WEAK: 2.0, MID: 1.0, STRONG: 11.0}, IDS)

        assert [one.model for one in found] == [MID, WEAK]

    def test_without_prices_the_given_order_counts(self) -> None:
        models = trio()
        with make(prices=None) as router:
            decision, _ = serve(router, models, easy(1))

        evidence = decision.request.evidence
        assert evidence is not None
        assert [one.model for one in evidence.standings] == [WEAK, MID]
        assert 0.0 == evidence.standings[0].cost < evidence.standings[1].cost < 1.0


class TestChoice:
    def test_the_cheapest_model_that_is_good_enough_answers(self) -> None:
        policy = FloorPolicy(audit_rate=0.0)

        assert policy.choose(three(weak=0.02, mid=0.01)).model == WEAK
        assert policy.choose(three(weak=0.5, mid=0.02)).model == MID
        assert policy.choose(three(weak=0.5, mid=0.5)).model == STRONG

    def test_a_cheaper_model_must_not_lose_more_than_its_saving_is_worth(self) -> None:
        """At a threshold of .8 the whole cost is worth a loss of .2, and a tenth of it .02."""
        policy = FloorPolicy(audit_rate=0.0, caution=0.0)

        assert policy.choose(three(weak=0.035, mid=0.02)).model == WEAK
        assert policy.choose(three(weak=0.045, mid=0.02)).model == MID

    @given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.1, 1.2), st.floats(0.0, 1.0))
    def test_what_answers_is_expected_to_be_worth_its_threshold(
        self, weak: float, mid: float, threshold: float, cost: float
    ) -> None:
        known = three(weak, mid, state=PolicyState(threshold=threshold))
        known = replace(known, standings=(known.standings[0], replace(known.standings[1], cost=cost)))

        route = FloorPolicy(audit_rate=0.0).choose(known)

        assert route.model == STRONG or (route.confidence is not None and route.confidence >= threshold)
        assert route.needed is None or route.needed >= threshold

    def test_a_guess_about_one_model_is_audited_by_what_is_known_of_that_model(self) -> None:
        known = three(weak=0.5, mid=0.02, draw=0.0)
        audited = replace(known.standings[1], state=PolicyState(audits=10**6))

        route = FloorPolicy().choose(known)
        later = FloorPolicy().choose(replace(known, standings=(known.standings[0], audited)))

        assert (route.model, route.instead_of, route.chance) == (STRONG, Arm(MID), pytest.approx(0.7))
        assert later.chance == pytest.approx(0.05)

    def test_gaps_that_scatter_little_are_audited_less_but_never_not_at_all(self) -> None:
        def chance(scatter: float | None) -> float:
            audited = Standing(WEAK, "small-1", learned=0.0, scatter=scatter, state=PolicyState(audits=10**6))
            return FloorPolicy().choose(Evidence("big-1", (audited,))).chance

        assert chance(None) == chance(0.25) == pytest.approx(0.05)
        assert chance(0.02) == pytest.approx(0.05 * 0.02 / (0.05 * 0.95))
        assert chance(0.0) == pytest.approx(0.01)

    def test_one_served_answer_moves_the_namespace_and_only_the_model_that_was_judged(self) -> None:
        route = Route(MID, expected=0.1, guess=True)

        own, judged = FloorPolicy().steps("default", three(), route, Judged(1.0, reference=1.0))

        assert (own.model, judged.model) == ("", "middle-1")
        assert (judged.audit, judged.error, judged.residual) == (True, True, pytest.approx(0.9))

    def test_a_model_that_changed_begins_the_threshold_anew_and_leaves_the_others_what_they_know(self) -> None:
        known = three(weak=0.5, mid=0.02)
        changed = replace(known.standings[0], since=50.0)
        later = replace(known, standings=(changed, known.standings[1]), start=0.85, now=60.0)

        assert (known.threshold, later.threshold) == (0.8, 0.85)
        assert later.standings[1] == known.standings[1]


class TestVerdicts:
    def test_a_remembered_request_is_answered_by_the_cheapest_model_that_worked(self) -> None:
        policy = FloorPolicy(audit_rate=0.0)
        both, one, none = (
            three(matches=(seen(("small-1", weak), ("middle-1", mid)),))
            for weak, mid in ((True, True), (False, True), (False, False))
        )

        assert (policy.choose(both).model, policy.choose(one).model) == (WEAK, MID)
        assert (policy.choose(none).model, policy.choose(none).reason) == (STRONG, "memory_strong")

    def test_a_model_that_failed_here_is_not_guessed_good_and_an_untried_one_may_be(self) -> None:
        policy = FloorPolicy(audit_rate=0.0)
        known = three(weak=0.0, mid=0.02, matches=(seen(("small-1", False)),))

        assert policy.choose(known).model == MID

    def test_a_cheaper_model_that_came_later_may_take_over(self) -> None:
        policy = FloorPolicy(audit_rate=0.0)

        assert policy.choose(three(weak=0.0, matches=(seen(("middle-1", True)),))).model == WEAK
        assert policy.choose(three(weak=0.9, matches=(seen(("middle-1", True)),))).model == MID

    def test_a_new_model_is_due_on_what_another_failed_at(self) -> None:
        experience = seen(("small-1", False)).experience

        assert due(experience, "middle-1", "big-1", now=2.0, retry_after=1e9)
        assert not due(experience, "small-1", "big-1", now=2.0, retry_after=1e9)


class TestLadder:
    def test_models_are_tried_from_cheap_to_dear_with_guides_up_to_the_first_that_works(self) -> None:
        def answer(call: Call) -> Reply:
            return Reply(call.model, RIGHT if call.model == MID else WRONG)

        steps = Ladder(ExactJudge()).steps(QUESTION, REFERENCE, [guide("g")], models=(WEAK, MID, "dear"))
        calls, found = play(steps, answer)

        assert calls == [("weak", "shadow", None), ("weak", "shadow", "g"), ("mid", "shadow", None)]
        assert [(one.model, one.ok) for one in found.attempts] == [(WEAK, False), (WEAK, False), (MID, True)]

    def test_what_chance_chose_is_tried_first_and_all_that_costs_less_whatever_works(self) -> None:
        steps = Ladder(ExactJudge()).steps(QUESTION, REFERENCE, models=(WEAK, MID), drawn=(Arm(MID), Arm(WEAK)))
        calls, found = play(steps, lambda call: Reply(call.model, RIGHT))

        assert calls == [("mid", "audit", None), ("weak", "shadow", None)]
        assert all(one.drawn for one in found.attempts)

    def test_an_answer_that_fails_its_check_is_followed_by_what_costs_more(self) -> None:
        steps = Ladder(ExactJudge(), write_guides=False).audit(QUESTION, Reply(WEAK, WRONG), None, models=(WEAK, MID))
        calls, found = play(steps, lambda call: Reply(call.model, RIGHT))

        assert calls == [("strong", "audit", None), ("mid", "shadow", None)]
        assert found.served is not None and found.served.agrees is False


def trio(mid: Any = None) -> dict[str, Scripted]:
    """A weak model that fails at all, a middle one that fails at odd numbers, and a strong one."""

    def number(call: Call) -> int:
        return int(str(call.request.key).rpartition(" ")[2])

    return {
        WEAK: Scripted("small-1", lambda call: "-1"),
        STRONG: Scripted("big-1", lambda call: str(number(call))),
        MID: Scripted("middle-1", mid or (lambda call: "-1" if number(call) % 2 else str(number(call)))),
    }


def make(**options: Any) -> Router:
    models = trio()
    clock = count(1_000.0)
    usual: dict[str, Any] = {
        "models": {MID: models[MID]}, "memory": ":memory:", "embedder": "hashing", "learning": "inline",
        "judge": "number", "guides": False, "prices": PRICES, "audit_rate": 0.0, "seed": 0,
        "clock": lambda: float(next(clock)), "learning_budget": None,
    }  # fmt: skip
    return Router(models[WEAK], models[STRONG], **usual | options)


class TestRouting:
    def test_each_request_goes_to_the_cheapest_model_that_was_shown_to_answer_it(self) -> None:
        models = trio()
        with make() as router:
            for n in (2, 3):
                serve(router, models, easy(n))
            (even, _), (odd, _) = (serve(router, models, easy(n)) for n in (2, 3))

        assert (even.model, even.choice.reason) == (MID, "memory_weak")
        assert (odd.model, odd.choice.reason) == (STRONG, "memory_strong")

    def test_the_kind_that_the_middle_model_answers_is_learned(self) -> None:
        def mid(call: Call) -> str:
            return str(call.request.key).rpartition(" ")[2] if "repeat" in str(call.request.key) else "-1"

        models = trio(mid)
        models[STRONG].answer = lambda call: str(call.request.key).rpartition(" ")[2]
        with make() as router:
            for n in range(60):
                serve(router, models, easy(n))
                serve(router, models, question(f"Which prime comes next in the list that begins with {n}"))
            known, _ = serve(router, models, easy(1_001))
            other, _ = serve(router, models, question("Which prime comes next in the list that begins with 1002"))

        assert (known.model, other.model) == (MID, STRONG)

    def test_a_decision_says_which_models_it_compared(self) -> None:
        with make() as router:
            decision, _ = serve(router, trio(), easy(2))
            facts = router.explain(decision.id)

        assert facts["models"] == {"strong": "big-1", "weak": "small-1", "mid": "middle-1"}
        assert [(one["model"], one["ok"]) for one in facts["learned"]["attempts"]] == [(WEAK, False), (MID, True)]

    def test_feedback_on_a_middle_model_counts_against_it(self) -> None:
        models = trio()
        with make() as router:
            for _ in range(2):
                decision, _ = serve(router, models, easy(2))
            assert decision.model == MID
            router.feedback(decision.id, good=False)
            after, _ = serve(router, models, easy(2))

        assert after.model == STRONG

    def test_nothing_is_learned_of_further_models_where_a_strategy_chooses(self) -> None:
        models = trio()
        with make(strategy=lambda request: Route(STRONG)) as router:
            serve(router, models, easy(2))

        assert models[MID].calls == {}

    def test_a_model_whose_price_falls_takes_part_soon(self) -> None:
        models = trio(lambda call: "-1")
        with make(prices={**PRICES, "middle-1": (99.0, 99.0)}) as router:
            for n in range(3):
                serve(router, models, easy(n))
            assert models[MID].calls == {}
            router.set_prices({"middle-1": (1.0, 1.0)})
            for n in range(30):
                serve(router, models, easy(n))

        assert models[MID].calls["shadow"] > 0

    def test_a_new_model_on_an_old_memory_is_learned_of(self, tmp_path: Any) -> None:
        models = trio()
        path = str(tmp_path / "rar.db")
        with make(memory=path, models=None) as router:
            two = {name: models[name] for name in (WEAK, STRONG)}
            serve(router, two, easy(2))
            assert serve(router, two, easy(2))[0].model == STRONG
        with make(memory=path) as router:
            serve(router, models, easy(2))
            assert serve(router, models, easy(2))[0].model == MID


class TestFailover:
    @pytest.fixture(autouse=True)
    def quiet(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.ERROR)

    def tried(self, router: Router, first: str, down: set[str]) -> list[str]:
        """The models that a turn asks, which begins with `first`."""
        models = trio()
        decision = replace(router.decide(easy(2), models), choice=Route(first))
        asked: list[str] = []
        for attempt in (turn := Turn(router, decision)):
            with attempt:
                asked.append(attempt.decision.model)
                if asked[-1] in down:
                    raise TimeoutError
        router.learn(turn.decision, Reply(turn.decision.model, "2"), models)
        return asked

    def test_the_next_dearer_model_takes_over_and_the_strong_one_last(self) -> None:
        with make() as router:
            assert self.tried(router, WEAK, {WEAK}) == [WEAK, MID]
            assert self.tried(router, WEAK, {WEAK, MID}) == [WEAK, MID, STRONG]
            with pytest.raises(TimeoutError):
                self.tried(router, MID, {MID, STRONG})

    def test_a_failing_strong_model_falls_back_to_the_dearest_other_where_that_is_allowed(self) -> None:
        with make(degrade=True) as router:
            assert self.tried(router, STRONG, {STRONG}) == [STRONG, MID]

    def test_a_cheaper_model_takes_over_where_no_dearer_one_fits_a_limit(self) -> None:
        """A strong answer is expected to cost 0.0003 USD, a middle one a tenth of that."""
        with make(degrade=True, limits=Limits(usd=0.0002)) as router:
            for n in range(3):
                router.ledger.add("default", "serve", MID, "middle-1", Usage(100, 20))
                router.ledger.add("default", "serve", STRONG, "big-1", Usage(100, 20 + n))
            assert self.tried(router, MID, {MID}) == [MID, WEAK]

    def test_a_model_that_fails_again_and_again_is_passed_over(self) -> None:
        with make() as router:
            for _ in range(ILL_AFTER):
                self.tried(router, WEAK, {WEAK, MID})
            assert self.tried(router, WEAK, {WEAK}) == [WEAK, STRONG]

    def test_a_model_recovers_by_an_answer_and_after_a_rest(self) -> None:
        now = [0.0]
        health = Health(lambda: now[0])
        for _ in range(ILL_AFTER):
            health.failed(MID)

        assert health.is_ill(MID)
        assert health.sorted([MID, STRONG]) == [STRONG, MID]
        assert health.sorted([MID]) == [MID]  # it must do
        now[0] = REST
        assert not health.is_ill(MID)
        now[0] = 1.0
        health.answered(MID)
        assert not health.is_ill(MID)


class TestManyModels:
    @pytest.mark.slow
    def test_a_constant_model_in_the_middle_rings_no_alarm(self) -> None:
        """It is tried where the weak one failed, which is harder than the rest: no sign that it became worse."""
        chance = np.random.default_rng(0)
        hard = chance.random(1_500)
        models = {
            WEAK: Scripted("small-1", lambda call: "ok" if hard[place(call)] < 0.5 else "no"),
            MID: Scripted("middle-1", lambda call: "ok" if hard[place(call)] < 0.75 else "no"),
            STRONG: Scripted("big-1", lambda call: "ok"),
        }
        with make(judge="exact", audit_rate=None) as router:
            for n in range(len(hard)):
                serve(router, models, question(f"{WORDS[n % 7]} {n} {WORDS[n // 7 % 7]}?"))
            assert router.memory is not None
            states = [router.memory.policy_state("default", id) for id in ("small-1", "middle-1")]

        assert [state.since for state in states] == [0.0, 0.0]

    def test_two_names_of_one_model_are_learned_of_once(self, caplog: pytest.LogCaptureFixture) -> None:
        models = trio()
        models[MID].id = "small-1"
        with make() as router:
            decision, _ = serve(router, models, easy(2))

        assert decision.request.evidence is not None
        assert [one.model for one in decision.request.evidence.standings] == [WEAK]
        assert "nothing is learned about 'mid'" in caplog.text

    def test_a_static_router_speaks_of_the_weak_model_whatever_is_cheaper(self) -> None:
        models = trio()
        prices = {**PRICES, "middle-1": (0.01, 0.01)}
        with make(prices=prices, static_router=lambda text: 0.1) as router:
            decision = router.decide(easy(1), models)

        assert decision.request.evidence is not None
        assert [(one.model, one.prior) for one in decision.request.evidence.standings] == [
            (MID, None), (WEAK, pytest.approx(0.9))
        ]  # fmt: skip

    def test_a_word_on_a_model_that_nothing_is_learned_about_blames_no_other(self) -> None:
        models = trio()
        with make(strategy=lambda request: MID) as router:
            decision, _ = serve(router, models, easy(2))
            router.feedback(decision.id, good=False)
            assert router.memory is not None
            state, changes = router.memory.policy_state("default", "small-1"), router.memory.changes()

        assert (state.audits, changes.experiences) == (0, ())

    def test_a_draft_of_an_unknown_model_is_refused_with_its_name(self, caplog: pytest.LogCaptureFixture) -> None:
        class Vote:
            def steps(self, request: Request) -> Steps[Choice]:
                return Answer(Reply("vote", "42"))
                yield []

        with make(strategy=Vote()) as router:
            decision, _ = serve(router, trio(), easy(2))

        assert (decision.model, decision.choice.reason) == (STRONG, "strategy_failed")
        assert "UnknownModelError" in caplog.text

    def test_no_call_of_a_batch_is_made_that_asks_an_unknown_model(self) -> None:
        models = trio()

        class Ask:
            def steps(self, request: Request) -> Steps[Choice]:
                yield [Call(WEAK, request, purpose="draft"), Call("nope", request, purpose="draft")]
                return Route(WEAK)

        with make(strategy=Ask()) as router:
            decision = router.decide(easy(2), models)

        assert (decision.choice.reason, models[WEAK].calls) == ("strategy_failed", {})


WORDS = ("How", "tall", "green", "river", "engine", "poem", "tax")


def place(call: Call) -> int:
    return int(str(call.request.key).split()[1])
