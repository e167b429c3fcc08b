"""Chain of thought: what is sent, what is shown, and what a strategy inside gets to see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rar import Answer, Call, Message, Reply, Request, Route, Router
from rar.errors import ConfigurationError, UnknownModelError, UnknownNameError
from rar.injection import messages_of
from rar.models import FunctionModel
from rar.strategies import RAR, Cascade, ChainOfThought, SelfConsistency
from rar.strategies.chain_of_thought import TRIGGER, concluded
from rar.strategy import check_models
from rar.values import Choice, Failure, ToolCall, Usage, question
from tests.langchain.conftest import a_guide

SYSTEM, USER = Message("system", "Be brief."), Message("user", "Is 51 prime?", native=object())
QUESTION = question("Is 51 prime?")
THOUGHT = "51 is 3 × 17.\n\n**Answer:** No."
DOWN = Failure("weak", ConnectionError("down"))


def play(
    strategy: ChainOfThought, *outcomes: Reply | Failure, request: Request = QUESTION
) -> tuple[Choice, list[Call]]:
    """What is decided, and all calls that were made."""
    steps, coming, made = strategy.steps(request), iter(outcomes), list[Call]()
    try:
        batch = next(steps)
        while True:
            made += batch
            batch = steps.send([next(coming) for _ in batch])
    except StopIteration as stop:
        return stop.value, made


# --- what an answer ends in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (THOUGHT, "No."),
        ("3 + 4 = 7\nAnswer: 7", "7"),
        ("## Final answer:\n\nThe first line\nand the second", "The first line\nand the second"),
        ("A guess.\nAnswer: 6\nNo, wrong.\nAnswer: 7", "7"),
        ("So 3 + 4 = 7.\nThe answer is (B).", "(B)."),
        ("She says the answer is long.\nSo it is 7.", "She says the answer is long.\nSo it is 7."),
        ("<think>Answer: 6</think>Answer: 7", "7"),
        ("My answer is: **7**", "7"),
        ("7", "7"),
        ("", ""),
        ("Answer:", "Answer:"),
    ],
)
def test_the_answer_is_what_follows_the_last_mark(text: str, answer: str) -> None:
    assert concluded(text) == answer


def test_a_long_text_without_an_answer_is_read_quickly() -> None:
    text = "*_# " * 50_000 + "answer" * 10_000

    assert concluded(text) == text.strip()


# --- what is sent ---------------------------------------------------------------------------------------------------


def test_the_users_message_is_extended_and_stays_the_frameworks_own() -> None:
    request = Request((SYSTEM, USER))
    choice, made = play(ChainOfThought("weak"), request=request)

    assert not made
    assert isinstance(choice, Route)
    assert (choice.model, choice.reason) == ("weak", "step_by_step")
    assert choice.messages is not None
    assert choice.messages[0] is SYSTEM
    assert (choice.messages[1].native, choice.messages[1].text) == (USER.native, USER.text)
    assert choice.messages[1].suffix == f"\n\n{TRIGGER}"


def test_examples_stand_before_the_conversation_and_need_no_trigger() -> None:
    turns = (SYSTEM, USER, Message("assistant", "No."), Message("user", "And 53?"))
    sent = ChainOfThought(examples=[("Is 9 prime?", "9 is 3 × 3. Answer: No.")]).prompted(turns)

    assert sent == (SYSTEM, Message("user", "Is 9 prime?"), Message("assistant", "9 is 3 × 3. Answer: No."), *turns[1:])
    both = ChainOfThought(examples=[("a", "b")], trigger="Think.").prompted(turns)
    assert both[-1] == Message("user", "And 53?", suffix="\n\nThink.")


def test_a_conversation_without_a_user_gets_a_message_more() -> None:
    assert ChainOfThought(trigger="Think.").prompted((SYSTEM,)) == (SYSTEM, Message("user", "Think."))


def test_a_guide_comes_after_the_trigger() -> None:
    guided = Route("weak", guide=a_guide())

    class Guided:
        def steps(self, request: Request) -> Any:
            return guided
            yield []

    choice, _ = play(ChainOfThought(Guided()))
    assert isinstance(choice, Route)
    text = messages_of(Call("weak", QUESTION, choice.guide, messages=choice.messages))[0].suffix
    assert text.startswith(f"\n\n{TRIGGER}\n\n")
    assert "reference_notes" in text


@pytest.mark.parametrize("task", ["tools:01", "schema:01", "rephrase/schema:01"])
def test_calls_with_tools_or_a_schema_are_left_as_they_are(task: str) -> None:
    request = question("Is 51 prime?", task=task)

    assert play(ChainOfThought("weak", show="answer"), request=request)[0] == Route("weak", reason="step_by_step")


# --- what is shown --------------------------------------------------------------------------------------------------


def test_the_answer_alone_is_shown_and_its_draft_is_what_was_served() -> None:
    draft = Reply("weak", THOUGHT, usage=Usage(10, 20), model_id="small", native=object())
    choice, (call,) = play(ChainOfThought("weak", show="answer"), draft)

    assert call == Call("weak", QUESTION, purpose="draft", messages=ChainOfThought().prompted(QUESTION.messages))
    assert isinstance(choice, Answer)
    assert (choice.reply.text, choice.reply.usage, choice.reply.native) == ("No.", Usage(10, 20), None)
    assert choice.draft is draft


def test_tool_calls_are_shown_whole() -> None:
    draft = Reply("weak", "Let me see.\nAnswer: soon", (ToolCall("look", {}),))

    assert play(ChainOfThought("weak", show="answer"), draft)[0] == Answer(draft, "step_by_step", draft=draft)


@pytest.mark.parametrize("outcome", [DOWN, Reply("weak", "")])
def test_the_strong_model_answers_where_the_draft_fails(outcome: Reply | Failure) -> None:
    assert play(ChainOfThought("weak", show="answer"), outcome)[0] == Route("strong", reason="drafts_failed")


# --- a strategy inside ----------------------------------------------------------------------------------------------


def said(*texts: str) -> Sequence[Reply]:
    return [Reply("weak", text, native=text) for text in texts]


VOTES = said(
    THOUGHT, "Hard to say.\nAnswer: Yes", "It ends in 1, but 3 × 17 = 51.\nAnswer: no", "5 + 1 = 6.\nAnswer: no!"
)


def test_a_vote_is_on_the_answers_and_one_whole_draft_is_shown() -> None:
    choice, made = play(ChainOfThought(SelfConsistency(samples=4, extractor="yes_no")), *VOTES)

    assert {call.messages for call in made} == {ChainOfThought().prompted(QUESTION.messages)}
    assert isinstance(choice, Answer)
    assert (choice.confidence, choice.draft) == (0.75, None)
    assert choice.reply is VOTES[2]


def test_or_its_answer_alone() -> None:
    choice, _ = play(ChainOfThought(SelfConsistency(samples=4, extractor="yes_no"), show="answer"), *VOTES)

    assert isinstance(choice, Answer)
    assert (choice.reply.text, choice.draft) == ("no", VOTES[2])


def test_a_split_vote_is_answered_step_by_step_too() -> None:
    vote = SelfConsistency(samples=2, extractor="yes_no", escalate_below=1.0)
    choice, _ = play(ChainOfThought(vote), *VOTES[:2])
    assert isinstance(choice, Route)
    assert (choice.model, choice.reason) == ("strong", "split_vote")
    assert choice.messages == ChainOfThought().prompted(QUESTION.messages)

    alone, made = play(ChainOfThought(vote, show="answer"), *VOTES[:2], Reply("strong", THOUGHT))
    assert isinstance(alone, Answer)
    assert (alone.reply.text, alone.reason, made[-1].model) == ("No.", "split_vote", "strong")


def test_a_check_that_asks_a_model_is_not_told_to_think() -> None:
    def accept(request: Request, draft: Reply) -> Any:
        assert draft.text == "No."
        (verdict,) = yield [Call("strong", question("Is that right?"), purpose="judge")]
        return 1.0 if verdict.text == "Answer: yes" else 0.0

    choice, made = play(ChainOfThought(Cascade(accept)), Reply("weak", THOUGHT), Reply("strong", "Answer: yes"))

    assert made[1].messages is None
    assert isinstance(choice, Answer)
    assert choice.reply.text == THOUGHT


# --- what is refused, and what is counted ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"show": "steps"}, UnknownNameError, "'steps'"),
        ({"inner": 3}, ConfigurationError, "inner=3"),
        ({"inner": SelfConsistency}, ConfigurationError, "inner="),
        ({"trigger": 3}, ConfigurationError, "trigger=3"),
        ({"examples": ["a question"]}, ConfigurationError, "examples="),
        ({"examples": [("a", "b", "c")]}, ConfigurationError, "examples="),
        ({"inner": RAR(), "show": "answer"}, ConfigurationError, "audits"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_made(given: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        ChainOfThought(**given)


@pytest.mark.parametrize("inner", ["coder", SelfConsistency("coder")])
def test_a_missing_model_is_told_at_once(inner: Any) -> None:
    with pytest.raises(UnknownModelError, match="'coder'"):
        check_models(ChainOfThought(inner), ("weak", "strong"))


def test_the_draft_counts_as_served_once() -> None:
    def say(messages: object) -> Reply:
        return Reply("weak", THOUGHT, usage=Usage(10, 20))

    models = {"weak": FunctionModel(say, "small"), "strong": FunctionModel(say, "large")}
    prices = {"weak": (1.0, 1.0), "strong": (10.0, 10.0)}
    with Router(strategy=ChainOfThought(show="answer"), memory=None, prices=prices) as router:
        decision = router.decide(QUESTION, models)
        assert isinstance(decision.choice, Answer)
        router.learn(decision, decision.choice.reply, models)

        assert [call.purpose for call in decision.calls] == ["serve"]
        assert sum(spend.usd or 0.0 for spend in router.stats().spending) == pytest.approx(30e-6)
