"""Self-consistency: votes that end early and lose nothing, who wins them, and what is refused when it is made."""

from __future__ import annotations

import gzip
import json
import math
import os
import random
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar import Answer, Reply, Route, Router, Sampling
from rar.errors import BudgetExceededError, ConfigurationError, UnknownNameError
from rar.models import FunctionModel
from rar.strategies import SelfConsistency
from rar.strategies.votes import Ended, ahead, beta, exact, further, never, standing, window
from rar.values import Choice, Failure, Request, ToolCall, Usage, question

QUESTION = question("What is 17 plus 25?")
RULES: dict[str, Ended] = {"exact": exact, "beta": beta(0.95), "window": window(5), "never": never}
votes = st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=1, max_size=24)


def reply(said: str | None) -> Reply | Failure:
    return Failure("weak", ConnectionError("down")) if said is None else Reply("weak", said)


def play(
    strategy: SelfConsistency, said: Sequence[str | None], request: Request = QUESTION
) -> tuple[Choice, list[int]]:
    """What is decided, and how many drafts were asked for in each batch."""
    steps, coming, batches = strategy.steps(request), iter(said), list[int]()
    batch = next(steps)
    try:
        while True:
            batches.append(len(batch))
            batch = steps.send([reply(next(coming)) for _ in batch])
    except StopIteration as stop:
        return stop.value, batches


# --- when a vote ends -----------------------------------------------------------------------------------------------


def in_batches(ended: Ended, said: Sequence[Hashable]) -> int:
    """How many votes are cast before the vote ends, each batch being asked for at once."""
    cast = 0
    while more := further(ended, said[:cast], len(said) - cast):
        cast += more
    return cast


@given(votes)
def test_exact_names_the_winner_of_the_whole_vote(said: list[str | None]) -> None:
    cast = in_batches(exact, said)

    assert [value for value, _ in standing(said[:cast])][:1] == [value for value, _ in standing(said)][:1]


@pytest.mark.parametrize("rule", RULES)
@given(votes)
def test_a_batch_asks_for_no_more_than_one_at_a_time_would(rule: str, said: list[str | None]) -> None:
    one_by_one = next(n for n in range(1, len(said) + 1) if n == len(said) or RULES[rule](said[:n], len(said) - n))

    assert in_batches(RULES[rule], said) == one_by_one


def test_equal_votes_go_to_what_was_said_first() -> None:
    assert standing(["b", "a", None, "a", "b", "c"]) == [("b", 2), ("a", 2), ("c", 1)]
    assert exact(["b", "a", "b"], 1)  # a second "a" would come too late
    assert not exact(["a", "b", "b"], 1)


@pytest.mark.parametrize(("first", "second", "chance"), [(0, 0, 0.5), (1, 0, 0.75), (4, 0, 0.96875), (2, 2, 0.5)])
def test_the_chance_to_be_ahead(first: int, second: int, chance: float) -> None:
    assert ahead(first, second) == chance


def test_the_chance_to_be_ahead_is_that_of_the_beta_integral() -> None:
    a, b, steps = 7, 3, 20_000
    area = [math.fsum((x**a) * (1 - x) ** b for x in grid) for grid in (
        [(n + 0.5) / steps for n in range(steps // 2, steps)], [(n + 0.5) / steps for n in range(steps)],
    )]  # fmt: skip

    assert ahead(a, b) == pytest.approx(area[0] / area[1], abs=1e-6)


# --- the strategy, played by hand -----------------------------------------------------------------------------------


def test_drafts_come_in_batches_that_may_end_the_vote() -> None:
    assert play(SelfConsistency(extractor="number"), ["42"] * 20)[1] == [4]
    assert play(SelfConsistency(extractor="number"), ["42", "42", "42", "41"] + ["42"] * 16)[1] == [4, 3]
    assert play(SelfConsistency(stop="exact", extractor="number"), ["42"] * 20)[1] == [10]
    assert play(SelfConsistency(stop="window", extractor="number"), ["41", *["42"] * 19])[1] == [5, 5]
    assert play(SelfConsistency(stop=None, samples=7, extractor="number"), ["42"] * 7)[1] == [7]


def test_every_draft_is_a_sample_of_its_own() -> None:
    batch = next(SelfConsistency("coder", sampling=Sampling(temperature=0.5, seed=7)).steps(QUESTION))

    assert [call.model for call in batch] == ["coder"] * 4
    assert [call.sampling for call in batch] == [Sampling(temperature=0.5, seed=7 + n) for n in range(4)]


def test_the_shortest_draft_of_the_winners_is_the_answer() -> None:
    said = ["It is 17 + 25 = 42.", "41", "The answer is 42", "42"]
    choice, _ = play(SelfConsistency(samples=4, extractor="number"), said)

    assert choice == Answer(Reply("weak", "42"), "majority", 0.75)


def test_drafts_that_fail_or_say_nothing_are_no_votes_but_count_as_drafts() -> None:
    choice, _ = play(SelfConsistency(samples=4, extractor="number"), ["42", None, "", "no idea"])

    assert choice == Answer(Reply("weak", "42"), "majority", 0.25)


@pytest.mark.parametrize("said", [(None,) * 4, ("",) * 20, ("hm",) * 20], ids=["all fail", "empty", "no number"])
def test_without_a_vote_the_strong_model_answers(said: tuple[str | None, ...]) -> None:
    choice, batches = play(SelfConsistency(extractor="number"), said)

    assert choice == Route("strong", reason="no_votes")
    assert sum(batches) == len(said)  # a model that is down is not asked on and on


def test_no_draft_is_asked_for_after_a_limit_was_reached() -> None:
    steps = SelfConsistency(extractor="number").steps(QUESTION)
    next(steps)
    refused = Failure("weak", BudgetExceededError("3 calls"))
    with pytest.raises(StopIteration) as stop:
        steps.send([reply("41"), reply("42"), reply("41"), refused])

    assert stop.value.value == Answer(Reply("weak", "41"), "majority", 0.5)


def test_a_split_vote_goes_to_the_strong_model() -> None:
    said = ["40", "41", "42", "40"]

    choice, _ = play(SelfConsistency(samples=4, extractor="number", escalate_below=0.6), said)
    assert choice == Route("strong", reason="split_vote", confidence=0.5)
    kept, _ = play(SelfConsistency(samples=4, extractor="number", escalate_below=0.5), said)
    assert isinstance(kept, Answer)


def calls(**arguments: Any) -> Reply:
    return Reply("weak", "", (ToolCall("book", arguments),))


def test_tool_calls_vote_by_their_canonical_form_whatever_the_extractor() -> None:
    steps = SelfConsistency(samples=3, stop=None, extractor="number").steps(QUESTION)
    next(steps)
    with pytest.raises(StopIteration) as stop:
        steps.send([calls(seats=1), calls(seats=2, row="B "), calls(row="B", seats=2.0)])

    assert stop.value.value == Answer(calls(seats=2, row="B "), "majority", 2 / 3)


def test_answers_to_a_schema_vote_by_their_canonical_form() -> None:
    asked = question("Read this bill.", task="schema:0123")
    said = ['{"total": 5}', '{"total": 7, "tip": 1}', '{"tip": 1.0, "total": 7}']
    choice, _ = play(SelfConsistency(samples=3, stop=None, extractor="number"), said, asked)

    assert choice == Answer(Reply("weak", said[1]), "majority", 2 / 3)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"samples": 1}, ConfigurationError, "samples=1"),
        ({"stop": "soon"}, UnknownNameError, "'soon'"),
        ({"confidence": 0.5}, ConfigurationError, "confidence=0.5"),
        ({"window": 1}, ConfigurationError, "window=1"),
        ({"extractor": "haiku"}, UnknownNameError, "'haiku'"),
        ({"escalate_below": 60}, ConfigurationError, "escalate_below=0.6"),
        ({"escalate_below": 0.6, "model": "strong"}, ConfigurationError, "strong"),
        ({"sampling": Sampling(temperature=0.0)}, ConfigurationError, "all drafts the same"),
        ({"sampling": 0.7}, ConfigurationError, "sampling=0.7"),
        ({"model": 3}, ConfigurationError, "model=3"),
        ({"sample": 3}, ConfigurationError, "samples"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_made(given: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        SelfConsistency(**given)


def test_every_draft_is_paid_for() -> None:
    def say(messages: object) -> Reply:
        return Reply("weak", "42", usage=Usage(10, 2))

    models = {"weak": FunctionModel(say, "small"), "strong": FunctionModel(say, "large")}
    prices = {"weak": (1.0, 1.0), "strong": (10.0, 10.0)}
    with Router(strategy=SelfConsistency(), memory=None, prices=prices) as router:
        decision = router.decide(QUESTION, models)

        assert [call.purpose for call in decision.calls] == ["serve", "draft", "draft", "draft"]
        assert sum(spend.usd or 0.0 for spend in router.stats().spending) == pytest.approx(4 * 12e-6)


# --- recorded votes -------------------------------------------------------------------------------------------------

RECORDED = Path(os.environ.get("RAR_DATA", "")) / "strategies" / "last_letters_samples.jsonl.gz"


@pytest.mark.skipif(not RECORDED.is_file(), reason="RAR_DATA names no folder with recorded samples")
def test_recorded_samples_vote_as_well_with_a_quarter_of_them() -> None:
    with gzip.open(RECORDED, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][:100]
    asked, right = 0, {"beta": 0, "all": 0}
    for row in rows:
        said = random.Random(0).sample(row["answers"], 40)
        choice, batches = play(SelfConsistency(samples=40, extractor=lambda _, reply: reply.text), said)
        assert isinstance(choice, Answer)
        asked += sum(batches)
        right["beta"] += choice.reply.text == row["answer"]
        right["all"] += standing(said)[0][0] == row["answer"]

    assert asked < 10 * len(rows)
    assert abs(right["beta"] - right["all"]) <= 1
