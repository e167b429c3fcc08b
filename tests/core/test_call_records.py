"""A decision lists the calls that were made for it: drafts, judges, what failed, what was refused, and what served."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from rar import Answer, Call, FunctionModel, Reply, Request, Route, Router, Steps, ask_all
from rar.drive import Model
from rar.stamps import is_sealed, sealing_key
from rar.turn import Turn
from rar.values import Choice, Decision, Failure, Usage, question

QUESTION = question("Which river flows through Paris?")
PRICES = {"weak": (1.0, 2.0), "strong": (10.0, 20.0)}


def says(role: str, text: str, out: int = 20) -> FunctionModel:
    usage = Usage(100, out)
    return FunctionModel(lambda messages: Reply(role, text, usage=usage, model_id=f"{role}-1"), f"{role}-1")


def down(messages: Any) -> str:
    raise ConnectionError("down")


MODELS: dict[str, Model] = {
    "weak": says("weak", "the Seine"), "strong": says("strong", "the Seine."), "down": FunctionModel(down, "down-1"),
}  # fmt: skip


@dataclass(frozen=True)
class Drafts:
    """Asks all three, and one to judge, then does as told."""

    accepts: int | None = None

    def steps(self, request: Request) -> Steps[Choice]:
        drafts = yield from ask_all([Call(name, request) for name in ("weak", "down", "strong")])
        yield from ask_all([Call("strong", request, purpose="judge")])
        if self.accepts is None:
            return Route("strong", reason="fused")
        chosen = drafts[self.accepts]
        return Answer(chosen, reason="picked")  # type: ignore[arg-type]


def router(strategy: Any, **options: Any) -> Router:
    return Router(strategy=strategy, memory=None, prices=PRICES, models={}, **options)


def told(facts: dict[str, Any]) -> list[tuple[str, str, int, Any, bool]]:
    names = ("model", "purpose", "input_tokens", "usd", "failed")
    return [tuple(call[name] for name in names) for call in facts["calls"]]  # type: ignore[misc]


DRAFTED = [
    ("weak", "draft", 100, pytest.approx(0.00014), False),
    ("down", "draft", 0, 0.0, True),
    ("strong", "draft", 100, pytest.approx(0.0014), False),
    ("strong", "judge", 100, pytest.approx(0.0014), False),
]
SERVED = ("strong", "serve", 100, pytest.approx(0.0014), False)


async def test_drafts_and_failures_are_listed_in_their_order() -> None:
    made = router(Drafts())

    for decision in (made.decide(QUESTION, MODELS), await made.adecide(QUESTION, MODELS)):
        assert told(decision.as_dict()) == DRAFTED
        assert all(0.0 <= (call.seconds or -1.0) < 60.0 for call in decision.calls)
        assert decision.drafts == 4


def test_the_call_that_serves_is_added_when_its_costs_are_known() -> None:
    made = router(Drafts())
    decision = made.decide(QUESTION, MODELS)
    reply = replace(MODELS["strong"].call(decision.call), seconds=0.25)

    costs = made.costs(decision, reply, MODELS)

    assert told(costs) == [*DRAFTED, SERVED]
    assert costs["calls"][-1]["seconds"] == 0.25


def test_an_accepted_draft_is_the_call_that_serves() -> None:
    made = router(Drafts(accepts=0))
    decision = made.decide(QUESTION, MODELS)
    assert isinstance(decision.choice, Answer)

    costs = made.costs(decision, decision.choice.reply, MODELS)

    assert told(decision.as_dict()) == told(costs) == [("weak", "serve", *DRAFTED[0][2:]), *DRAFTED[1:]]


def test_a_draft_that_failed_is_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    decision = router(Drafts(accepts=1)).decide(QUESTION, MODELS)

    assert (decision.model, decision.choice.reason) == ("strong", "strategy_failed")
    assert told(decision.as_dict()) == DRAFTED  # they were paid for all the same
    assert "an `Answer` of a `Reply`" in caplog.text


def serve(made: Router, models: dict[str, Model]) -> Decision:
    """What a plugin does for one call."""
    turn = Turn(made, made.decide(QUESTION, models))
    for attempt in turn:
        with attempt:
            reply = models[attempt.decision.model].call(attempt.decision.call)
            attempt.refuse(ValueError("empty") if reply.empty else None, lambda: reply)  # noqa: B023
    made.learn(turn.decision, reply, models)
    return turn.decision


@pytest.mark.parametrize(
    ("weak", "expected"),
    [
        (FunctionModel(down, "weak-1"), ("weak", "serve", 0, 0.0, True)),
        (says("weak", " ", 1), ("weak", "draft", 100, pytest.approx(0.000102), True)),
    ],
)
def test_what_failed_or_was_refused_on_the_way_is_listed(weak: Model, expected: Any) -> None:
    made = router(lambda _: "weak")

    decision = serve(made, {**MODELS, "weak": weak})

    assert told(decision.as_dict()) == [expected]
    assert decision.seconds is not None
    assert decision.calls[0].seconds is not None
    spent = {(spend.purpose, spend.role): spend.calls for spend in made.stats().spending}
    assert spent == (
        {("serve", "strong"): 1} if expected[1] == "serve" else {("draft", "weak"): 1, ("serve", "strong"): 1}
    )


def test_an_accepted_draft_that_cannot_be_played_back_is_listed_once() -> None:
    made = router(Drafts(accepts=0))
    decision = made.decide(QUESTION, MODELS)

    after = made.stand_in(decision, ValueError("empty"), Reply("weak", ""))

    assert after is not None
    assert after.calls == decision.calls


def test_facts_are_json_and_hold_no_text_and_the_seal_stays_valid() -> None:
    made = router(Drafts())
    decision = made.decide(QUESTION, MODELS)
    reply = MODELS["strong"].call(decision.call)

    facts = {**decision.as_dict(), **made.costs(decision, reply, MODELS)}

    assert "Seine" not in json.dumps(facts)
    assert is_sealed(sealing_key(None), json.loads(json.dumps(facts)), decision.seal, "default")


def test_calls_are_kept_with_the_decision() -> None:
    with Router(strategy=Drafts(), memory=":memory:", embedder="hashing", learning="inline", prices=PRICES) as made:
        decision = serve(made, MODELS)

        assert told(made.explain(decision.id)) == [*DRAFTED, SERVED]


def test_a_failure_is_no_answer_however_it_is_made() -> None:
    decision = router(lambda _: Answer(Failure("weak", ConnectionError("down")))).decide(QUESTION, MODELS)  # type: ignore[arg-type]

    assert (decision.model, decision.choice.reason, decision.calls) == ("strong", "strategy_failed", ())
