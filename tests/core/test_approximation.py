"""An approximation gives labels where it is sure, abstains else, and refuses answers that are no closed set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rar import Answer, Reply, Route, Router
from rar.errors import ConfigurationError, RouterFileError, TrainingDataError
from rar.strategies import Approximation
from rar.strategies.approximation import threshold_for
from rar.values import Choice, Message, Request, question

KINDS = {"up": "rises soars gains climbs", "down": "falls sinks drops slides"}


def headlines(n: int = 200, noise: float = 0.0, seed: int = 0) -> tuple[list[str], list[str]]:
    """Headlines of gold and what a model calls them; some of it wrong."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(n):
        label = str(rng.choice(list(KINDS)))
        texts.append(f"Gold {rng.choice(KINDS[label].split())} {rng.integers(1, 99)} % in {rng.integers(1900, 2030)}")
        labels.append(label if rng.random() >= noise else next(kind for kind in KINDS if kind != label))
    return texts, labels


@pytest.fixture(scope="module")
def fitted() -> Approximation:
    return Approximation.fit(*headlines())


def decided(strategy: Approximation, request: Request) -> Choice:
    with pytest.raises(StopIteration) as stop:
        next(strategy.steps(request))
    choice: Choice = stop.value.value
    return choice


def test_a_label_is_given_where_it_is_sure(fitted: Approximation) -> None:
    found = decided(fitted, question("Gold soars 5 % in 1999"))

    assert isinstance(found, Answer)
    assert (found.reply, found.reason) == (Reply("weak", "up", model_id="approximation"), "approximated")
    assert found.confidence is not None and found.confidence >= fitted.threshold


def test_it_abstains_where_it_is_not(fitted: Approximation) -> None:
    assert decided(fitted, question("Silver is a metal")) == Route("strong", reason="abstained")


@pytest.mark.parametrize("request_", [
    question("Gold soars 5 % in 1999", task="tools:abc"),
    question("Gold soars 5 % in 1999", task="schema:abc"),
    Request((Message("user", "Gold soars"),)),
])  # fmt: skip
def test_calls_with_a_form_or_without_a_question_are_not_its_own(fitted: Approximation, request_: Request) -> None:
    assert isinstance(decided(fitted, request_), Route)


def test_another_strategy_may_answer_what_it_leaves() -> None:
    class Weak:
        models = ("weak",)

        def steps(self, request: Request):  # type: ignore[no-untyped-def]
            return Route("weak", reason="inner")
            yield []

    found = Approximation.fit(*headlines(), inner=Weak())
    assert decided(found, question("Silver is a metal")) == Route("weak", reason="inner")
    assert found.models == ("weak",)


def test_the_stated_agreement_is_held_on_new_texts() -> None:
    texts, labels = headlines(1_500, noise=0.1)
    found = Approximation.fit(texts[:1_000], labels[:1_000], agreement=0.85)
    said, chance = found.predict(texts[1_000:])
    given = chance >= found.threshold

    assert given.mean() > 0.5
    assert np.mean(np.array(said)[given] == np.array(labels[1_000:])[given]) >= 0.83


def test_an_agreement_that_cannot_be_held_gives_no_label() -> None:
    found = Approximation.fit(*headlines(300, noise=0.3), agreement=0.99)

    assert found.share == 0.0
    assert isinstance(decided(found, question("Gold soars 5 % in 1999")), Route)


def test_the_threshold_is_the_least_that_surely_agrees() -> None:
    chance = np.linspace(1.0, 0.5, 400)
    agrees = np.arange(400) < 300
    threshold, agreed, share = threshold_for(chance, agrees, 0.9)

    assert 0.0 < share < 1.0
    assert agreed == pytest.approx(agrees[chance >= threshold].mean())
    assert agreed > 0.9  # the bound is held against what was stated, not the mean
    assert threshold_for(chance[:5], agrees[:5], 0.99)[0] > 1.0  # five that agree prove nothing


def test_open_answers_are_refused() -> None:
    texts, _ = headlines(60)
    with pytest.raises(TrainingDataError, match="60 different answers among 60.*no closed set"):
        Approximation.fit(texts, [f"Because of reason {n}" for n in range(60)])
    with pytest.raises(TrainingDataError, match="All answers are alike"):
        Approximation.fit(texts, ["up"] * 60)
    with pytest.raises(TrainingDataError, match="too few"):
        Approximation.fit(texts[:5], ["up", "down", "up", "down", "up"])
    with pytest.raises(TrainingDataError, match="60 texts and 2 answers"):
        Approximation.fit(texts, ["up", "down"])


def test_answers_that_differ_by_case_and_stops_are_one_label() -> None:
    texts, labels = headlines(60)
    written = [label if n % 3 else f"{label.title()}." for n, label in enumerate(labels)]

    assert sorted(Approximation.fit(texts, written).labels) == ["down", "up"]


def test_it_is_the_same_after_a_round_through_a_folder(fitted: Approximation, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    again, texts = Approximation.load(tmp_path, inner="weak"), headlines(20, seed=5)[0]

    assert (again.labels, again.threshold, again.inner) == (fitted.labels, fitted.threshold, "weak")
    assert again.predict(texts)[0] == fitted.predict(texts)[0]
    assert again.predict(texts)[1] == pytest.approx(fitted.predict(texts)[1], abs=1e-5)
    with pytest.raises(RouterFileError):
        Approximation.load(tmp_path / "nothing")


def test_it_costs_nothing_and_is_counted_as_served(fitted: Approximation) -> None:
    def model(messages: object) -> str:
        raise AssertionError("asked")

    def other(messages: object) -> str:
        raise AssertionError("asked")

    with Router(model, other, memory=None, strategy=fitted, prices={"model": (1, 1), "other": (9, 9)}) as router:
        decision = router.decide(question("Gold soars 5 % in 1999"))
        assert isinstance(decision.choice, Answer)
        router.learn(decision, decision.choice.reply)
        (spend,) = router.stats().spending

    assert (spend.purpose, spend.calls, spend.usd) == ("serve", 1, 0.0)


def test_what_was_not_fitted_says_so() -> None:
    empty = Approximation(("up", "down"), 0.5, 1.0, 1.0)
    with pytest.raises(ConfigurationError, match="not fitted"):
        empty.predict(["Gold soars"])
    with pytest.raises(ConfigurationError, match="not fitted"):
        empty.save("nowhere")
