"""Tree of Thoughts: which states a search goes on from, how they are valued, and that it keeps to its calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar import Answer, Call, Reply, Request, Route
from rar.errors import ConfigurationError, UnknownNameError
from rar.strategies import PromptTask, TreeOfThoughts
from rar.strategies.thoughts import Node, best
from rar.values import Choice, Failure, question

ASKED = question("Spell a word of three letters.")
DOWN = Failure("weak", ConnectionError("down"))
LETTERS = {"": "c\nd", "c": "a\no", "d": "o\ni", "ca": "r\nt", "co": "w", "do": "g\nt", "di": "p"}
WORTH = {"c": "likely", "d": "sure", "do": "sure", "di": "likely", "ca": "likely", "co": "impossible", "dog": "sure"}


class Spelling(PromptTask):
    """States are letters; every reply names next ones."""

    def proposing(self, request: Request, state: str) -> str:
        return f"after {state}"

    def proposed(self, request: Request, state: str, said: str) -> Sequence[str]:
        return [state + letter for letter in said.split()]

    def valuing(self, request: Request, state: str) -> str:
        return f"value {state}"

    def solved(self, request: Request, state: str) -> bool:
        return len(state) == 3

    def answer(self, request: Request, state: str) -> str:
        return state.upper()


def say(call: Call) -> Any:
    assert call.messages is not None
    kind, _, state = call.messages[0].text.partition(" ")
    return Reply(
        call.model, WORTH.get(state, "impossible") if kind == "value" else LETTERS.get(state, ""), native=state
    )


def play(
    strategy: TreeOfThoughts, say: Callable[[Call], Any] = say, request: Request = ASKED
) -> tuple[Choice, list[list[Call]]]:
    """What is decided, and the batches of calls."""
    steps, made = strategy.steps(request), list[list[Call]]()
    try:
        batch = next(steps)
        while True:
            made.append(batch)
            batch = steps.send([say(call) for call in batch])
    except StopIteration as stop:
        return stop.value, made


def asked(batch: Sequence[Call]) -> list[str]:
    return [call.messages[0].text for call in batch if call.messages is not None]


# --- the search -------------------------------------------------------------------------------------------------------


def test_each_step_goes_on_from_the_best_states_together() -> None:
    choice, batches = play(TreeOfThoughts(Spelling(depth=3), b=2, samples=2))

    assert [asked(batch) for batch in batches] == [
        ["after "],
        ["value c", "value c", "value d", "value d"],
        ["after d", "after c"],  # the better one first
        [f"value {state}" for state in ("do", "di", "ca", "co") for _ in range(2)],
        ["after do", "after di"],  # "di" was there before "ca", which is worth as much
        [f"value {state}" for state in ("dog", "dot", "dip") for _ in range(2)],
    ]
    assert isinstance(choice, Answer)
    assert (choice.reply.text, choice.reply.native, choice.reason) == ("DOG", None, "thoughts")
    assert choice.draft == Reply("weak", "g\nt", native="do")  # the call that proposed it
    assert {call.purpose for batch in batches[::2] for call in batch} == {"draft"}
    assert {call.purpose for batch in batches[1::2] for call in batch} == {"judge"}


def test_depth_first_follows_the_best_and_comes_back_from_dead_ends() -> None:
    dead = {**WORTH, "do": "impossible", "di": "impossible", "cat": "sure"}

    def reply(call: Call) -> Reply:
        text = asked([call])[0]
        kind, _, state = text.partition(" ")
        return Reply("weak", dead.get(state, "impossible") if kind == "value" else LETTERS.get(state, ""))

    strategy = TreeOfThoughts(Spelling(depth=3), b=2, samples=1, search="dfs", prune=0.5)
    choice, batches = play(strategy, reply)

    assert [asked(batch) for batch in batches[::2]] == [["after "], ["after d"], ["after c"], ["after ca"]]
    assert isinstance(choice, Answer)
    assert choice.reply.text == "CAT"


def test_a_state_that_comes_twice_is_gone_on_from_once_and_asked_about_once() -> None:
    nodes: list[Node] = []
    strategy = TreeOfThoughts(Spelling(depth=1), samples=1, trace=lambda _, seen: nodes.extend(seen))
    choice, batches = play(strategy, lambda call: Reply("weak", "dog dog cat" if call.purpose == "draft" else "likely"))

    assert asked(batches[1]) == ["value dog", "value cat"]
    assert [(node.state, node.value) for node in nodes] == [("dog", 1.0), ("dog", 0.0), ("cat", 1.0)]
    assert isinstance(choice, Answer)
    assert choice.reply.text == "DOG"


def test_a_function_may_value_states_and_asks_nobody() -> None:
    strategy = TreeOfThoughts(Spelling(depth=3), b=1, evaluate=lambda request, state: -ord(state[-1]))
    choice, batches = play(strategy)

    assert [asked(batch) for batch in batches] == [["after "], ["after c"], ["after ca"]]
    assert isinstance(choice, Answer)
    assert choice.reply.text == "CAR"


def test_a_vote_compares_states_with_each_other() -> None:
    ballots = iter(["The best is 2", "2", "1", *["1"] * 6])

    def reply(call: Call) -> Reply:
        return say(call) if call.purpose == "draft" else Reply("weak", next(ballots))

    choice, batches = play(TreeOfThoughts(Spelling(depth=3), b=1, evaluate="vote"), reply)

    assert len(batches[1]) == 3
    assert "Attempt 2:\nd" in asked(batches[1])[0]
    assert asked(batches[2]) == ["after d"]
    assert isinstance(choice, Answer)
    assert choice.reply.text == "DOG"


# --- trouble ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", ["bfs", "dfs"])
@pytest.mark.parametrize("most", range(1, 26))
def test_no_more_calls_are_made_than_allowed(search: Any, most: int) -> None:
    choice, batches = play(TreeOfThoughts(Spelling(depth=3), b=3, samples=2, max_calls=most, search=search))

    assert sum(len(batch) for batch in batches) <= most
    assert isinstance(choice, Answer) or choice == Route("strong", reason="no_solution")


def test_the_best_solution_so_far_is_the_answer_where_calls_are_used_up() -> None:
    found, _ = play(TreeOfThoughts(Spelling(depth=3), b=2, samples=1, max_calls=10))  # one word could be proposed
    assert isinstance(found, Answer)
    assert found.reply.text in {"DOG", "DOT"}

    assert play(TreeOfThoughts(Spelling(depth=3), b=2, samples=1, max_calls=8))[0] == Route(
        "strong", reason="no_solution"
    )


def test_calls_that_fail_are_passed_over() -> None:
    def shaky(call: Call) -> Any:
        return DOWN if asked([call])[0] in {"after c", "value do"} else say(call)

    choice, _ = play(TreeOfThoughts(Spelling(depth=3), b=2), shaky)

    assert isinstance(choice, Answer)
    assert choice.reply.text in {"DIP", "DOG"}
    assert play(TreeOfThoughts(Spelling(depth=3)), lambda call: DOWN)[0] == Route("strong", reason="no_solution")


@pytest.mark.parametrize("request_", [question("x", task="tools:01"), question("x", task="schema:01"), question("  ")])
def test_what_is_no_such_problem_is_passed_on(request_: Request) -> None:
    assert play(TreeOfThoughts(PromptTask(), "coder"), request=request_)[0] == Route("coder", reason="no_search")


# --- the task ---------------------------------------------------------------------------------------------------------


def test_lines_are_thoughts_and_words_are_values() -> None:
    task = PromptTask()
    states = task.proposed(ASKED, "first\n", "1. add {state}\n- or this\n\nAnswer: 7")

    assert states == ["first\nadd {state}\n", "first\nor this\n", "first\nAnswer: 7\n"]
    assert [task.solved(ASKED, state) for state in states] == [False, False, True]
    assert task.answer(ASKED, states[2]) == "7"
    assert task.value(["Not sure. Impossible.", "It is likely", "hm", "**sure**"]) == 21.001
    prompt = task.proposing(question("What of {state}?"), states[0])
    assert "What of {state}?" in prompt
    assert "first\nadd {state}" in prompt


@given(st.lists(st.floats(0, 1), max_size=12), st.integers(1, 6))
def test_the_best_are_sorted_and_equals_stay_in_order(values: list[float], b: int) -> None:
    found = best(values, b)

    assert found == sorted(range(len(values)), key=lambda at: (-values[at], at))[:b]


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"task": "chess"}, ConfigurationError, "task='chess'"),
        ({"task": PromptTask}, ConfigurationError, "task="),
        ({"b": 0}, ConfigurationError, "b=0"),
        ({"samples": 0}, ConfigurationError, "samples=0"),
        ({"max_calls": 0}, ConfigurationError, "max_calls=0"),
        ({"search": "best"}, UnknownNameError, "'best'"),
        ({"evaluate": "guess"}, UnknownNameError, "'guess'"),
        ({"prune": "low"}, ConfigurationError, "prune='low'"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_made(given: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        TreeOfThoughts(**{"task": PromptTask(), **given})


def test_prompts_without_a_place_for_thoughts_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="propose="):
        PromptTask(propose="Go on.")
    with pytest.raises(ConfigurationError, match="depth=0"):
        PromptTask(depth=0)
