"""Recorded models: any number of them, their samples, costs and judge; replays through the real engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar import Answer, Call, Reply, Request, Router, SQLiteMemory, ask
from rar.errors import EvaluationDataError, TrainingDataError
from rar.evaluation import Checkpoint, RecordedJudge, RecordedModel, recorded, replay_online, stream
from rar.evaluation.compare import summarise_online
from rar.evaluation.prices import engine_prices, tokens_of
from rar.learning.judges import Verdict
from rar.outcomes import Outcomes, Replies
from rar.sampling import FRESH, Sampling
from rar.values import question
from tests.core.test_evaluation_replay import WORLD


def three() -> Outcomes:
    """The world with a model between the two, which knows half of the riddles; each call has a price of its own."""
    mid = WORLD.weak.copy()
    mid[30:45] = 1.0
    costs = np.arange(1.0, 61.0)[:, None] * [0.001, 0.01, 0.1]
    scores = np.stack([WORLD.weak, mid, WORLD.strong], 1)
    return Outcomes(
        WORLD.texts, scores, ("s", "m", "l"), costs=costs, vectors=WORLD.vectors, embedder_id=WORLD.embedder_id
    )


def ask_all(request: Request) -> Any:
    """A strategy that asks each model and serves what the one in the middle says."""
    yield from ask("weak", request)
    draft = yield from ask("m", request)
    yield from ask("strong", request)
    return Answer(draft, "middle")


class Asker:
    def steps(self, request: Request) -> Any:
        return ask_all(request)


def test_every_call_of_every_model_is_charged_at_its_recorded_cost() -> None:
    outcomes = three()

    (run,) = replay_online(outcomes, shuffles=1, strategy=Asker()).runs

    assert run.costs == pytest.approx(outcomes.call_costs[run.rows].sum(1))
    assert run.cost_ratio() == pytest.approx(1.11)
    assert run.shares() == {"weak": 0.0, "m": 1.0, "strong": 0.0}
    assert run.scores.tolist() == outcomes.scores[run.rows, 1].tolist()
    assert run.realised() == pytest.approx(outcomes.scores[:, 1].mean())


def test_the_ledger_charges_what_was_recorded() -> None:
    outcomes, spent = three(), []
    with SQLiteMemory(":memory:") as memory:
        stream(outcomes, strategy=Asker(), memory=memory)
        spent = memory.spending()

    by_role = {role: sum(s.usd for s in spent if s.role == role) for role in ("weak", "m", "strong")}
    assert list(by_role.values()) == pytest.approx(outcomes.call_costs.sum(0).tolist())


def test_the_router_expects_of_a_call_what_such_calls_cost() -> None:
    outcomes = three()

    prices = engine_prices(outcomes)

    tokens = tokens_of(outcomes, 1).sum(1).mean()
    assert list(prices) == ["weak", "m", "strong"]
    assert prices["m"][0] * tokens / 1e6 == pytest.approx(outcomes.call_costs[:, 1].mean())


def test_a_run_of_any_number_of_models_comes_back_from_disk(tmp_path: Path) -> None:
    outcomes, checkpoint = three(), Checkpoint(tmp_path)

    first, again = (replay_online(outcomes, shuffles=1, checkpoint=checkpoint).runs[0] for _ in range(2))

    assert checkpoint.resumed == 1
    assert first.served.tolist() == again.served.tolist()
    assert first.costs.tolist() == again.costs.tolist()


def sampled() -> Outcomes:
    """Two texts, two models, two samples of each."""
    samples = np.array([[[0.2, 0.4], [1.0, 0.8]], [[0.0, 0.0], [1.0, 1.0]]])
    texts = np.array([[["a", "b"], ["c", "d"]], [["e", "f"], ["g", "h"]]])
    tokens = np.arange(16.0).reshape(2, 2, 2, 2)
    replies = Replies(texts, tokens, usd=np.arange(8.0).reshape(2, 2, 2), seconds=np.ones((2, 2, 2)))
    return Outcomes(("one?", "two?"), samples.mean(2), ("s", "l"), samples=samples, replies=replies)


def test_a_recorded_model_answers_a_known_question_with_its_samples() -> None:
    model, request = RecordedModel(sampled(), "s"), question("one?")

    ways = (None, FRESH, FRESH, None, Sampling(seed=1))
    replies = [model.call(Call("any", request, sampling=sampling)) for sampling in ways]

    assert [reply.text for reply in replies] == ["a", "b", "a", "a", "b"]
    assert [reply.usd for reply in replies] == [0.0, 1.0, 0.0, 0.0, 1.0]
    assert [reply.usage.output_tokens for reply in replies] == [1, 3, 1, 1, 3]
    assert model.calls["serve"].tolist() == [5, 0]
    assert (replies[0].model_id, replies[0].seconds) == ("s", 1.0)


def test_costs_of_replies_are_those_of_the_outcomes() -> None:
    assert sampled().call_costs.tolist() == [[0.5, 2.5], [4.5, 6.5]]


def test_a_question_that_was_not_recorded_is_refused() -> None:
    with pytest.raises(EvaluationDataError, match="in none of its rows"):
        RecordedModel(sampled(), "l").call(Call("l", question("three?")))
    with pytest.raises(EvaluationDataError, match="no model 'x'"):
        RecordedModel(sampled(), "x")


def verdict(outcomes: Outcomes, reference: Reply, candidate: Reply) -> Verdict:
    with pytest.raises(StopIteration) as stop:
        next(RecordedJudge(outcomes).steps(question(outcomes.texts[0]), reference, candidate))
    found: Verdict = stop.value.value
    return found


def test_a_recorded_judge_grades_any_two_models() -> None:
    outcomes = three()
    outcomes = replace(outcomes, scores=np.tile([0.25, 0.5, 0.875], (60, 1)))
    weak, mid, strong = (
        model.call(Call(role, question(outcomes.texts[0]))) for role, model in recorded(outcomes).items()
    )

    assert verdict(outcomes, strong, mid) == Verdict(False, "recorded", gap=0.375, reference=0.875)
    assert verdict(outcomes, mid, weak) == Verdict(False, "recorded", gap=0.25, reference=0.5)
    assert verdict(outcomes, weak, strong).agrees


def test_a_recorded_judge_grades_the_sample_that_was_given() -> None:
    outcomes = sampled()
    weak, strong = (RecordedModel(outcomes, name) for name in ("s", "l"))
    request = question("one?")

    again = verdict(outcomes, strong.call(Call("l", request, sampling=FRESH)), weak.call(Call("s", request)))

    assert again.gap == pytest.approx(0.6)
    assert again.reference == pytest.approx(0.8)


def test_some_of_the_models_keep_their_own_columns() -> None:
    outcomes = three()
    outcomes.scores[3, 1] = np.nan

    found = outcomes.of_models("m", "l")

    assert len(found) == 59
    assert found.roles == ("weak", "strong")
    assert found.call_costs[0].tolist() == outcomes.call_costs[0, 1:].tolist()
    assert sampled().of_models("l", "s").replies.texts[0].tolist() == [["c", "d"], ["a", "b"]]  # type: ignore[union-attr, index]


def test_replies_of_another_shape_are_refused() -> None:
    with pytest.raises(TrainingDataError, match=r"replies\.tokens has shape"):
        Outcomes(("a",), np.ones((1, 2)), ("s", "l"), replies=Replies(tokens=np.ones((1, 2))))


def test_models_stand_alone_beside_the_router() -> None:
    found = summarise_online(replay_online(three(), shuffles=1), samples=10)

    alone = {rival.name: rival for rival in found.rivals if rival.name.endswith(" only")}
    assert list(alone) == ["weak only", "m only", "strong only"]
    assert alone["m only"].quality == pytest.approx(three().scores[:, 1].mean())
    assert alone["m only"].net_saved == pytest.approx(0.9)


def test_a_router_may_be_changed_in_mid_stream() -> None:
    served: list[int] = []

    def look(router: Router) -> None:
        served.append(router.stats().savings.served)
        router.set_prices({"m": (0.0, 0.0)})

    whole = stream(three(), changes={20: look})
    late = whole.part(slice(20, None))

    assert served == [20]
    assert late.served.tolist() == whole.served[20:].tolist()
    assert late.costs.tolist() == whole.costs[20:].tolist()
    assert late.rows.tolist() == list(range(20, 60))
