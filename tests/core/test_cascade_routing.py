"""Cascade routing: the next model is the one that is worth its price, in every state of what was asked."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from rar import Answer, Reply, Route
from rar.drive import drive
from rar.errors import ConfigurationError, RouterFileError
from rar.evaluation import RecordedModel
from rar.strategies import CascadeRouting
from rar.strategies.cascade_routing import useful
from rar.strategies.routing_states import Rule, _largest, spreads, states, weight_for
from rar.strategy import Outcome
from rar.values import Call, Choice, Failure, question
from tests.core.sums import sums

NAMES = {name: name for name in ("small", "middle", "large")}


@pytest.fixture(scope="module")
def routing() -> CascadeRouting:
    return CascadeRouting.fit(sums(), budget=8.0, names=NAMES)


def rule(weight: float = 0.0, depth: int = 2) -> Rule:
    return Rule(np.array([1.0, 2.0, 10.0]), np.full(3, 1e-6), weight, depth, last=2)


# --- the rule -------------------------------------------------------------------------------------------------------


def test_without_a_price_the_likeliest_model_is_asked() -> None:
    assert rule().next((), np.array([[0.2, 0.9, 0.8]])).tolist() == [1]


def test_what_is_not_worth_its_price_is_not_asked() -> None:
    chances = np.array([[0.6, 0.7, 0.9]])

    assert rule(weight=0.2).next((), chances).tolist() == [0]  # 0.1 more for 1 more, 0.3 for 9
    assert rule(weight=0.09).next((), chances).tolist() == [1]
    assert rule(weight=0.01).next((), chances).tolist() == [2]


def test_it_stops_where_no_further_model_is_worth_it() -> None:
    assert rule(weight=0.05).next((0,), np.array([[0.8, 0.85, 0.9], [0.1, 0.7, 0.8]])).tolist() == [-1, 1]


def test_uncertainty_makes_a_second_opinion_worth_more() -> None:
    chances = np.array([[0.7, 0.7, 0.7]])
    unsure = replace(rule(weight=0.05), spread=np.array([0.1, 0.4, 0.1]))

    assert rule(weight=0.05).next((0,), chances).tolist() == [-1]
    assert unsure.next((0,), chances).tolist() == [1]


def test_nobody_is_asked_after_the_last_model_or_beyond_the_depth() -> None:
    chances = np.array([[0.0, 0.0, 0.9]])

    assert rule().next((2,), chances).tolist() == [-1]
    assert rule(depth=2).next((0, 1), chances).tolist() == [-1]


def test_the_choice_equals_enumeration() -> None:
    rng = np.random.default_rng(0)
    chances = rng.random((200, 3))
    flat = rule(weight=0.03, depth=3)
    for state in ((), (0,), (1,), (0, 1)):
        for row, chosen in zip(chances, flat.next(state, chances), strict=True):
            left = [model for model in range(3) if model not in state]
            sets = [more for size in range(0 if state else 1, 4 - len(state)) for more in combinations(left, size)]
            worth = [max(row[list(state) + list(more)]) - 0.03 * sum(flat.costs[list(more)]) for more in sets]
            best = sets[int(np.argmax(worth))]

            assert chosen == (min(best) if best else -1)


def test_the_larger_of_two_normal_variables_is_as_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = np.maximum(rng.normal(0.5, 0.2, 200_000), rng.normal(0.6, 0.3, 200_000))
    mean, square = _largest(np.array([0.5]), np.array([0.04]), np.array([0.6]), 0.09)

    assert mean[0] == pytest.approx(drawn.mean(), abs=0.003)
    assert square[0] == pytest.approx(drawn.var(), abs=0.003)


def test_the_weight_of_costs_is_the_least_that_keeps_the_budget() -> None:
    rng = np.random.default_rng(0)
    estimates = {state: rng.random((300, 3)) for state in states(3, 2)}
    costs = np.tile([1.0, 2.0, 10.0], (300, 1))
    weight = weight_for(rule, estimates, costs, 4.0)

    def spent(w: float) -> float:
        return float((rule(w).walk(estimates)[1] * costs).sum(1).mean())

    assert spent(weight) <= 4.0 < spent(weight * 0.98)
    assert weight_for(rule, estimates, costs, 100.0) == 0.0


def test_an_estimate_is_uncertain_by_what_asking_its_model_changes() -> None:
    estimates = {(): np.array([[0.5, 0.5]] * 2), (0,): np.array([[0.9, 0.5], [0.1, 0.5]]), (1,): np.full((2, 2), 0.5)}

    assert spreads(estimates) == pytest.approx([0.4, 1e-6])


# --- fitted ---------------------------------------------------------------------------------------------------------


def test_the_budget_is_spent_and_kept_on_new_questions(routing: CascadeRouting) -> None:
    new = sums(400, seed=5).of_models(*routing.models)
    quality, cost = routing.walk(new)

    assert cost.mean() <= 1.03 * 8.0
    assert quality.mean() > 0.75  # mixing single models would give 0.79 of the right ones less drafts


def test_a_walk_through_recorded_rows_equals_serving_them(routing: CascadeRouting) -> None:
    new = sums(40, seed=5).of_models(*routing.models)
    models = {name: RecordedModel(new, name) for name in new.models}
    quality, cost = routing.walk(new)
    for row, text in enumerate(new.texts):
        request = question(text, options={"row": row})
        choice: Choice = drive(routing.steps(request), models)
        if isinstance(choice, Route):
            models[choice.model].call(Call(choice.model, request))
        answered = choice.model if isinstance(choice, Route) else choice.reply.model

        assert new.scores[row, new.models.index(answered)] == quality[row]
    calls = np.stack([sum(models[name].calls.values(), np.zeros(40)) for name in new.models], 1)
    assert (calls * new.call_costs).sum(1) == pytest.approx(cost)


def test_it_is_the_same_after_a_round_through_a_folder(routing: CascadeRouting, tmp_path: Path) -> None:
    routing.save(tmp_path)
    again, new = CascadeRouting.load(tmp_path), sums(60, seed=5)

    assert again.models == routing.models
    for one, other in zip(again.walk(new), routing.walk(new), strict=True):
        assert one == pytest.approx(other)
    with pytest.raises(RouterFileError, match="no router.json"):
        CascadeRouting.load(tmp_path / "nothing")
    with pytest.raises(ConfigurationError, match="function"):
        replace(routing, extract=lambda request, reply: reply.text).save(tmp_path)


def decided(routing: CascadeRouting, **said: str | None) -> Choice:
    """What is decided when the models say this; None: the call fails."""
    steps = routing.steps(question("How much is 120 plus 340?"))
    outcomes: list[Outcome] | None = None
    try:
        while True:
            (call,) = next(steps) if outcomes is None else steps.send(outcomes)
            text = said[call.model]
            outcomes = [Failure(call.model, OSError("down")) if text is None else Reply(call.model, text)]
    except StopIteration as stop:
        choice: Choice = stop.value
        return choice


def test_a_good_draft_is_the_answer_and_a_bad_one_is_not(routing: CascadeRouting) -> None:
    doubt = "I am not certain, perhaps the answer is 461"

    assert isinstance(decided(routing, small="the answer is 460", middle="the answer is 460"), Answer)
    assert decided(routing, small=doubt, middle=doubt) != decided(routing, small="the answer is 460", middle=doubt)


def test_the_last_model_answers_where_all_drafts_fail(routing: CascadeRouting) -> None:
    found = decided(routing, small=None, middle=None)

    assert isinstance(found, Route) and (found.model, found.reason) == ("large", "drafts_failed")


def test_of_depth_one_it_is_plain_routing_and_streams() -> None:
    plain = CascadeRouting.fit(sums(60), budget=1.5, depth=1, names=NAMES)

    assert isinstance(decided(plain), Route)


def test_of_many_models_those_are_taken_that_are_worth_their_price() -> None:
    data = sums(60)
    worse = replace(data, scores=data.scores * [1.0, 0.5, 1.0])

    assert useful(worse, most=2).models == ("small", "large")
    assert useful(worse).models == data.models
    with pytest.raises(ConfigurationError, match="'small' is the cheapest model and the best. Take it alone"):
        useful(replace(data, scores=data.scores * [1.0, 0.1, 0.1]))
    with pytest.raises(ConfigurationError, match="buys no model"):
        CascadeRouting.fit(data, budget=0.1)
