"""Examples before a conversation, and the choice of those that are worth their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rar import Answer, Reply, Route
from rar.drive import drive
from rar.errors import ConfigurationError, RouterFileError, TrainingDataError
from rar.strategies import ChainOfThought, FewShot, PromptSelector, SelfConsistency
from rar.strategies.few_shot import Example
from rar.values import Call, Message, Request, question

SHOTS = [("How many legs has a cat?", "4"), ("And a spider?", "8")]
ANIMALS = {"cat": "4", "spider": "8", "bird": "2", "ant": "6"}
# Each example teaches one animal. The long one teaches nothing new, and the last two the same one.
EXAMPLES: list[Example] = [
    ("cat", "4"), ("cat " + "with a long story " * 20, "4"), ("spider", "8"), ("bird", "2"), ("ant", "6"),
    ("ant again", "6"),
]  # fmt: skip
DEV: list[Example] = [(name, ANIMALS[name]) for name in ANIMALS for _ in range(5)]


class Pupil:
    """Knows exactly what its examples show."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, examples: Sequence[Example], questions: Sequence[str]) -> list[str]:
        self.calls.append(len(questions))
        known = {asked.split()[0] for asked, _ in examples}
        return [ANIMALS[asked] if asked in known else "?" for asked in questions]


def test_the_examples_that_teach_most_a_token_are_chosen_exactly() -> None:
    pupil = Pupil()
    found = PromptSelector.fit(EXAMPLES, DEV, pupil)

    assert found.examples == (EXAMPLES[0], *EXAMPLES[2:5])
    assert (found.score, found.all_score) == (1.0, 1.0)
    assert found.loss.value == 0.0
    assert found.tokens < found.all_tokens / 2
    assert found.asked == sum(pupil.calls)


def test_a_loss_within_what_is_allowed_saves_more() -> None:
    found = PromptSelector.fit(EXAMPLES, DEV, Pupil(), within=0.25)

    assert len(found.examples) == 3
    assert found.score == 0.75
    assert found.loss.low <= found.loss.value == 0.25 <= found.loss.high


def test_no_more_tokens_are_used_than_allowed() -> None:
    found = PromptSelector.fit(EXAMPLES, DEV, Pupil(), 25)

    assert 0 < found.tokens <= 25
    assert found.score < found.all_score


def test_none_are_chosen_where_none_help() -> None:
    found = PromptSelector.fit(EXAMPLES, DEV, lambda examples, questions: [ANIMALS[asked] for asked in questions])
    assert found.examples == ()
    assert found.tokens == 0


def test_an_example_that_became_idle_is_taken_out() -> None:
    """A short hint is the best start, and needless once both others are there."""

    def ask(examples: Sequence[Example], questions: Sequence[str]) -> list[str]:
        names = {asked.split()[0] for asked, _ in examples}
        good = (
            20
            if {"one", "two"} <= names
            else 12
            if "hint" in names and names & {"one", "two"}
            else 10 * ("hint" in names)
        )
        return [ANIMALS[asked] if at < good else "?" for at, asked in enumerate(questions)]

    found = PromptSelector.fit([("hint", "x"), ("one and more", "x"), ("two and more", "x")], DEV, ask)
    assert [asked for asked, _ in found.examples] == ["one and more", "two and more"]


def test_mistakes_are_told() -> None:
    with pytest.raises(TrainingDataError, match="max_asked is 100"):
        PromptSelector.fit(EXAMPLES, DEV, Pupil(), max_asked=100)
    with pytest.raises(TrainingDataError, match="0 examples"):
        PromptSelector.fit([], DEV, Pupil())
    with pytest.raises(TrainingDataError, match="gave 1 answers to 20 questions"):
        PromptSelector.fit(EXAMPLES, DEV, lambda examples, questions: ["4"])
    with pytest.raises(ConfigurationError, match="no pairs"):
        FewShot(["cat"])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="neither a model's name"):
        FewShot(SHOTS, 3)  # type: ignore[arg-type]


def test_it_is_the_same_after_a_round_through_a_folder(tmp_path: Path) -> None:
    found = PromptSelector.fit(EXAMPLES, DEV, Pupil(), within=0.25)
    found.save(tmp_path)

    assert PromptSelector.load(tmp_path) == found
    with pytest.raises(RouterFileError):
        PromptSelector.load(tmp_path / "nothing")


# --- the strategy -------------------------------------------------------------------------------------------------


def test_examples_stand_behind_the_system_message_and_before_the_conversation() -> None:
    request = Request((Message("system", "Be brief."), Message("user", "And a bird?")), key="And a bird?")
    choice = drive(FewShot(SHOTS, "strong").steps(request), {})

    assert isinstance(choice, Route)
    assert (choice.model, choice.reason) == ("strong", "few_shot")
    assert choice.messages == (
        Message("system", "Be brief."), Message("user", SHOTS[0][0]), Message("assistant", "4"),
        Message("user", SHOTS[1][0]), Message("assistant", "8"), Message("user", "And a bird?"),
    )  # fmt: skip


def test_a_strategy_inside_has_its_drafts_shown_the_examples() -> None:
    steps = FewShot(SHOTS, SelfConsistency("weak", samples=2)).steps(question("And a bird?"))
    batch: list[Call] = next(steps)

    assert all(call.messages is not None and call.messages[0].text == SHOTS[0][0] for call in batch)
    with pytest.raises(StopIteration) as stop:
        steps.send([Reply("weak", "Answer: 2") for _ in batch])
    assert isinstance(stop.value.value, Answer)
    assert stop.value.value.reply.text == "Answer: 2"  # nothing is cut from it


@pytest.mark.parametrize("task", ["tools:abc", "schema:abc"])
def test_calls_with_a_form_are_left_as_they_are(task: str) -> None:
    assert drive(FewShot(SHOTS).steps(question("x", task=task)), {}) == Route("weak", reason="few_shot")


def test_no_examples_change_nothing() -> None:
    assert drive(FewShot([]).steps(question("x")), {}) == Route("weak", reason="few_shot")


def test_a_choice_serves_a_chain_of_thought_too() -> None:
    found = PromptSelector.fit(EXAMPLES, DEV, Pupil(), within=0.25)
    assert ChainOfThought("weak", found.examples).examples == found.examples
