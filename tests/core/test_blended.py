"""Blended: how often each model is drawn, who stands in for one that fails, and what is refused when it is made."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar import Router
from rar.errors import ConfigurationError, UnknownModelError
from rar.evidence import Evidence
from rar.models import FunctionModel
from rar.strategies import Blended
from rar.strategies.blended import drawn
from rar.strategy import check_models
from rar.values import Decision, Reply, Request, Route, Usage, question

NAMES = ["weak", "coder", "strong"]
QUESTION = question("Hello?")


def models(**broken: bool) -> dict[str, Any]:
    def say(name: str) -> Any:
        def answer(messages: object) -> Reply:
            if broken.get(name):
                raise ConnectionError("down")
            return Reply(name, f"I am {name}.", usage=Usage(100, 100))

        return answer

    return {name: FunctionModel(say(name), name) for name in NAMES}


def first(strategy: Blended, chance: float) -> str:
    request = Request(QUESTION.messages, evidence=Evidence("large", chance=chance))
    with pytest.raises(StopIteration) as stop:
        next(strategy.steps(request))
    assert isinstance(stop.value.value, Route)
    return stop.value.value.model


@pytest.mark.parametrize("weights", [None, [3.0, 1.0, 1.0]])
def test_ten_thousand_draws_are_as_the_weights_say(weights: list[float] | None) -> None:
    chance, strategy = random.Random(0), Blended(NAMES, weights)
    seen = Counter(first(strategy, chance.random()) for _ in range(10_000))
    expected = [10_000 * weight / sum(weights or [1, 1, 1]) for weight in weights or [1, 1, 1]]
    squares = sum((seen[name] - wanted) ** 2 / wanted for name, wanted in zip(NAMES, expected, strict=True))

    assert squares < 9.21  # of chi-squared with two degrees of freedom, p > .01


def test_the_second_is_drawn_as_evenly_from_the_same_number() -> None:
    chance = random.Random(1)
    orders = Counter(tuple(drawn(NAMES, [1, 1, 1], chance.random())) for _ in range(12_000))

    assert len(orders) == 6
    assert sum((count - 2_000) ** 2 / 2_000 for count in orders.values()) < 15.09  # five degrees of freedom


@given(st.floats(0, 1), st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=6))
def test_every_model_has_a_place(chance: float, weights: list[float]) -> None:
    names = [str(n) for n in range(len(weights))]

    assert sorted(drawn(names, weights, chance)) == names


def decisions(count: int, seed: int | None = 7, **options: Any) -> list[Decision]:
    with Router(strategy=Blended(NAMES), memory=None, seed=seed, **options) as router:
        return [router.decide(QUESTION, models()) for _ in range(count)]


def test_a_router_draws_anew_for_each_request_and_the_same_by_its_seed() -> None:
    found = [decision.model for decision in decisions(30)]

    assert set(found) == set(NAMES)
    assert found == [decision.model for decision in decisions(30)]
    assert found != [decision.model for decision in decisions(30, seed=8)]


def test_what_a_call_costs_is_on_average_the_mean_of_what_they_cost() -> None:
    prices = {"weak": (1.0, 1.0), "coder": (2.0, 2.0), "strong": (9.0, 9.0)}
    with Router(strategy=Blended(NAMES), memory=None, seed=0, prices=prices) as router:
        priced, costs = models(), []
        for _ in range(600):
            decision = router.decide(QUESTION, priced)
            costs.append(router.costs(decision, priced[decision.model].call(decision.call), priced)["usd"])

    assert sum(costs) / len(costs) == pytest.approx(200e-6 * 12 / 3, rel=0.07)


def test_one_that_fails_is_drawn_anew_without_it() -> None:
    with Router(strategy=Blended(NAMES), memory=None, seed=1) as router:
        decision = router.decide(QUESTION, models())
        assert isinstance(decision.choice, Route)
        tried, order = [decision.model], [decision.model, *decision.choice.then]
        while (after := router.stand_in(decision, ConnectionError("down"))) is not None:
            decision = after
            tried.append(decision.model)

    assert tried == order
    assert sorted(order) == sorted(NAMES)


def test_a_loop_of_tools_stays_with_its_model() -> None:
    with Router(strategy=Blended(NAMES), memory=None) as router:
        again = Request(QUESTION.messages, sticky=Route("coder"))

        assert {router.decide(again, models()).model for _ in range(20)} == {"coder"}


def test_a_stand_in_must_exist() -> None:
    def choose(request: Request) -> Route:
        return Route("weak", then=("poet",))

    with Router(strategy=choose, memory=None) as router:
        decision = router.decide(QUESTION, models())

    assert decision.choice == Route("strong", reason="strategy_failed")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"models": "weak"}, "models='weak'"),
        ({"models": ["weak"]}, "two or more"),
        ({"models": ["weak", "weak"]}, "each once"),
        ({"models": NAMES, "weights": [1.0]}, "weights="),
        ({"models": NAMES, "weights": 1.0}, "weights="),
        ({"models": NAMES, "weights": [1.0, 0.0, 1.0]}, "a weight=0"),
        ({"models": NAMES, "weight": [1.0]}, "weights"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_made(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Blended(**given)


def test_a_missing_model_is_told_at_once() -> None:
    with pytest.raises(UnknownModelError, match="'poet'"):
        check_models(Blended(["weak", "poet"]), NAMES)
