"""Experts: what each is told, whose answer is chosen, and when the strong model answers instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar import Answer, Call, Message, Reply, Request, Route, Router
from rar.errors import ConfigurationError, NotFittedError, RouterFileError, TrainingDataError, UnknownModelError
from rar.models import FunctionModel
from rar.strategies import AnswerSelector, Experts
from rar.strategies.expert_features import features, normalised, overlap, risk_coverage
from rar.strategy import check_models
from rar.values import Choice, Failure, ToolCall, Usage, question
from tests.core.expert_answers import recorded, selector

SUM = question("How many are 3 and 4?")
PROMPTS: dict[str, Any] = {"careful": ("coder", "Take care."), "brief": "Be brief."}
DOWN = Failure("weak", ConnectionError("down"))


def play(strategy: Experts, said: Sequence[Any], request: Request = SUM) -> tuple[Choice, list[Call]]:
    steps = strategy.steps(request)
    batch = next(steps)
    with pytest.raises(StopIteration) as stop:
        steps.send([Reply(c.model, one) if isinstance(one, str) else one for c, one in zip(batch, said, strict=True)])
    return stop.value.value, batch


# --- what each is told ------------------------------------------------------------------------------------------------


def test_each_expert_has_a_model_and_a_prompt_in_the_selectors_order() -> None:
    _, batch = play(Experts(PROMPTS, selector()), ["7", "7"])

    assert [(call.model, call.messages) for call in batch] == [
        ("weak", (Message("system", "Be brief."), *SUM.messages)),
        ("coder", (Message("system", "Take care."), *SUM.messages)),
    ]


def test_a_prompt_goes_below_a_system_message_that_there_is() -> None:
    system = Message("system", "You are Ada.", native=object())
    request = Request((system, *SUM.messages))
    _, batch = play(Experts({"brief": "Be brief.", "careful": ""}, selector()), ["7", "7"], request)

    assert batch[0].messages == (replace(system, suffix="\n\nBe brief."), *SUM.messages)
    assert batch[1].messages == request.messages


# --- who answers ------------------------------------------------------------------------------------------------------


def test_the_answer_that_is_likeliest_right_is_given_as_it_is() -> None:
    choice, _ = play(Experts(PROMPTS, selector()), ["The answer is 3", "3 + 4 = 7.\nAnswer: 7"])

    assert isinstance(choice, Answer)
    assert (choice.reply.model, choice.reply.text, choice.reason) == ("coder", "3 + 4 = 7.\nAnswer: 7", "expert")


def test_agreement_makes_sure() -> None:
    alike, _ = play(Experts(PROMPTS, selector()), ["Ada 3", "ada 3."], question("Who was the mayor of town 3?"))
    apart, _ = play(Experts(PROMPTS, selector()), ["Ada 3", "Eve 3"], question("Who was the mayor of town 3?"))

    assert isinstance(alike, Answer)
    assert isinstance(apart, Answer)
    assert (alike.confidence or 0.0) > 0.7
    assert apart.reply.model == "weak"


def test_the_strong_model_answers_where_none_is_sure_enough() -> None:
    sure = selector().scores("Who was the mayor of town 3?", ["Ada 3", "Eve 3"]).max()
    choice, _ = play(
        Experts(PROMPTS, selector(), sure + 1e-6), ["Ada 3", "Eve 3"], question("Who was the mayor of town 3?")
    )

    assert choice == Route("strong", reason="unsure", confidence=pytest.approx(sure))


def test_one_that_fails_is_never_chosen() -> None:
    choice, _ = play(Experts(PROMPTS, selector()), ["3", DOWN])
    assert isinstance(choice, Answer)
    assert choice.reply.text == "3"

    assert play(Experts(PROMPTS, selector()), [DOWN, ""])[0] == Route("strong", reason="drafts_failed")


def test_calls_of_tools_are_compared_and_not_read() -> None:
    request = question("Book it.", task="tools:01")
    calls = [Reply("weak", "", (ToolCall("book", {"seats": n}),)) for n in (2, 2.0, 3)]

    assert play(Experts(PROMPTS, selector()), calls[:2], request)[0] == Answer(calls[0], "majority", 1.0)
    assert play(Experts(PROMPTS, selector()), calls[1:], request)[0] == Route("strong", reason="split_vote")


def test_all_experts_are_paid_for() -> None:
    def say(name: str, text: str) -> Any:
        return lambda messages: Reply(name, text, usage=Usage(10, 2))

    models = {
        "weak": FunctionModel(say("weak", "3"), "a"),
        "coder": FunctionModel(say("coder", "7"), "b"),
        "strong": FunctionModel(say("strong", "7"), "c"),
    }
    with Router(strategy=Experts(PROMPTS, selector()), memory=None, prices=dict.fromkeys(models, (1.0, 1.0))) as router:
        decision = router.decide(SUM, models)

        assert sorted(call.purpose for call in decision.calls) == ["draft", "serve"]
        assert sum(spend.usd or 0.0 for spend in router.stats().spending) == pytest.approx(24e-6)


# --- the selector -----------------------------------------------------------------------------------------------------


def test_it_tells_what_it_is_worth_on_questions_that_were_left_out() -> None:
    facts = selector().facts

    assert facts["questions"] == 80
    assert facts["accuracy"] > 0.85 > facts["majority"]
    assert facts["accuracy"] > facts["best_expert"]
    assert 0.0 < facts["risk"] < 0.2


def test_a_lower_risk_takes_a_higher_confidence() -> None:
    low, high = selector().abstain_at(0.15), selector().abstain_at(0.3)

    assert 0.0 < high <= low < 1.0
    with pytest.raises(ConfigurationError, match="risk=0.0"):
        selector().abstain_at(0.0)


def test_a_saved_selector_scores_as_before(tmp_path: Path) -> None:
    loaded = AnswerSelector.load(selector().save(tmp_path / "selector"))

    assert np.array_equal(loaded.scores("Who?", ["a", "b"]), selector().scores("Who?", ["a", "b"]))
    assert (loaded.facts, loaded.experts) == (selector().facts, selector().experts)
    assert loaded.abstain_at(0.2) == selector().abstain_at(0.2)
    assert repr(loaded) == "<AnswerSelector(penalty=1) of brief, careful>"
    with pytest.raises(RouterFileError):
        AnswerSelector.load(tmp_path)


def test_answers_are_compared_without_case_articles_and_punctuation() -> None:
    assert normalised("The  Eiffel-Tower, a tower!") == "eiffeltower tower"
    assert overlap("new york city", "york new") == 0.8
    assert overlap("", "") == 1.0
    assert overlap("a", "") == 0.0
    assert features("Who?", ["Ada", None, "ada."])[:, 1].tolist() == pytest.approx([2 / 3, 0.0, 2 / 3])


def test_risk_over_coverage_takes_the_surest_first() -> None:
    assert risk_coverage(np.array([0.1, 0.9, 0.5]), np.array([0.0, 1.0, 0.0])).tolist() == pytest.approx(
        [0.0, 1 / 2, 2 / 3]
    )


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"experts": {"brief": "Be brief."}}, "two or more"),
        ({"experts": ["brief", "careful"]}, "no mapping"),
        ({"experts": {"brief": 3, "careful": ""}}, "'brief' is 3"),
        ({"experts": {"brief": "", "careful": ("a", "b", "c")}}, "'careful'"),
        ({"experts": {"brief": "", "slow": ""}}, "slow"),
        ({"selector": AnswerSelector}, "selector="),
        ({"selector": AnswerSelector()}, "fitted to"),
        ({"abstain_below": 80}, "abstain_below=0.8"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_made(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Experts(**{"experts": PROMPTS, "selector": selector(), **given})


def test_a_selector_says_what_it_lacks() -> None:
    with pytest.raises(NotFittedError):
        AnswerSelector().scores("?", ["a"])
    with pytest.raises(NotFittedError):
        AnswerSelector().abstain_at(0.1)
    with pytest.raises(NotFittedError):
        AnswerSelector().save("nowhere")
    with pytest.raises(ConfigurationError, match="1 answers"):
        selector().scores("?", ["a"])
    with pytest.raises(TrainingDataError, match="none were kept"):
        AnswerSelector().fit(replace(recorded(), replies=None))
    with pytest.raises(TrainingDataError, match="10 questions"):
        AnswerSelector().fit(recorded(9))


def test_a_missing_model_is_told_at_once() -> None:
    with pytest.raises(UnknownModelError, match="'coder'"):
        check_models(Experts(PROMPTS, selector()), ("weak", "strong"))
