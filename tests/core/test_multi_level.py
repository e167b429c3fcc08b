"""A multi-level classifier calibrates its levels, asks the cheapest that will do, and passes the unsure on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

from rar import Answer, Reply, Route, Router
from rar.drive import drive
from rar.errors import ConfigurationError, NotFittedError, RouterFileError, TrainingDataError
from rar.evidence import Evidence
from rar.linear import Array, softmax
from rar.strategies import LabelledTexts, MultiLevel, TextClassifier
from rar.strategies.level_search import LevelPlan, best_plan, plans
from rar.strategies.levels import ChatLevel, LabelReader, calibration_error, pruned, temperature
from rar.strategy import Outcome, Steps
from rar.values import Call, Choice, Failure, Message, Request, question

WORDS = {"up": "rises soars gains climbs", "down": "falls sinks drops slides"}


def texts(n: int = 300, seed: int = 0, clear: float = 0.8) -> tuple[list[str], list[str]]:
    """Headlines with a clear word, or only with "green" or "red", which small classifiers have not seen."""
    rng = np.random.default_rng(seed)
    made, labels = [], []
    for _ in range(n):
        label = str(rng.choice(list(WORDS)))
        verb = rng.choice(WORDS[label].split()) if rng.random() < clear else {"up": "green", "down": "red"}[label]
        made.append(f"Gold {verb} in {rng.integers(1900, 2030)}")
        labels.append(label)
    return made, labels


@pytest.fixture(scope="module")
def small() -> TextClassifier:
    return TextClassifier.fit(*texts(200, seed=1, clear=1.0))


@pytest.fixture(scope="module")
def large() -> TextClassifier:
    return TextClassifier.fit(*texts(400, seed=2))


@pytest.fixture(scope="module")
def fitted(small: TextClassifier, large: TextClassifier) -> MultiLevel:
    return MultiLevel([small, large], costs=[1, 20]).fit(LabelledTexts(*texts()))


def walked(strategy: MultiLevel, request: Request, *outcomes: Outcome) -> tuple[Choice, list[Call]]:
    """What it decides, and the calls that it had made."""
    steps: Steps[Choice] = strategy.steps(request)
    made, coming = [], iter(outcomes)
    try:
        batch = next(steps)
        while True:
            made += batch
            batch = steps.send([next(coming) for _ in batch])
    except StopIteration as stop:
        return stop.value, made


def test_what_the_first_level_is_sure_of_goes_no_further(fitted: MultiLevel) -> None:
    clear, unclear = fitted.predict("Gold soars in 1950"), fitted.predict("Gold green in 1950")

    assert (clear.label, clear.levels) == ("up", (0,))
    assert (unclear.label, unclear.levels) == ("up", (0, 1))
    assert fitted.plan.rerouted < 0.3
    assert fitted.plan.accuracy >= fitted.facts[-1].accuracy
    assert clear.confidence >= fitted.plan.thresholds[0]


def test_a_request_is_answered_by_a_label_that_costs_nothing(fitted: MultiLevel) -> None:
    def model(messages: object) -> str:
        raise AssertionError("asked")

    def other(messages: object) -> str:
        raise AssertionError("asked")

    with Router(model, other, memory=None, strategy=fitted, prices={"model": (1, 1), "other": (9, 9)}) as router:
        decision = router.decide(question("Gold green in 1950"))
        assert isinstance(decision.choice, Answer)
        assert (decision.choice.reply.text, decision.choice.reason) == ("up", "label")
        router.learn(decision, decision.choice.reply)
        (spend,) = router.stats().spending
    assert (spend.purpose, spend.calls, spend.usd) == ("serve", 1, 0.0)


@pytest.mark.parametrize("request_", [
    question("Gold soars", task="tools:abc"), question("Gold soars", task="schema:abc"),
    Request((Message("user", "Gold soars"),)),
])  # fmt: skip
def test_calls_with_a_form_or_without_a_question_go_to_the_strong_model(fitted: MultiLevel, request_: Request) -> None:
    assert walked(fitted, request_) == (Route("strong", reason="no_labels"), [])


# --- calibration --------------------------------------------------------------------------------------------------


def test_the_temperature_is_found_again() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4_000, 3)) * 2.0
    right = np.array([rng.choice(3, p=row) for row in softmax(logits / 2.5)])

    assert temperature(logits, right) == pytest.approx(2.5, rel=0.06)
    assert calibration_error(softmax(logits / 2.5), right) < calibration_error(softmax(logits), right)


def test_the_calibration_error_is_that_of_its_definition() -> None:
    chances = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    right = np.array([0, 1, 0, 0])

    assert calibration_error(chances, right, bins=10) == pytest.approx(0.5 * abs(0.9 - 0.5) + 0.5 * abs(0.6 - 1.0))


def test_levels_are_better_calibrated_after_a_fit(fitted: MultiLevel) -> None:
    assert all(level.error_after <= level.error_before for level in fitted.facts)


# --- the choice of levels -----------------------------------------------------------------------------------------


def by_hand(confidence: Array, right: Array, costs: Sequence[float], target: float, steps: int) -> LevelPlan:
    """The best plan, text by text and without any shortcut."""
    best, n = None, len(confidence)
    for size in range(1, confidence.shape[1] + 1):
        for levels in combinations(range(confidence.shape[1]), size):
            grids = [np.unique(np.quantile(confidence[:, at], np.linspace(0, 1, steps + 1)[1:])) for at in levels[:-1]]
            for thresholds in product(*grids):
                hits = cost = away = 0.0
                for row in range(n):
                    for step, level in enumerate(levels):
                        cost += costs[level] / n
                        if step == len(thresholds) or confidence[row, level] >= thresholds[step]:
                            hits, away = hits + right[row, level] / n, away + (step > 0) / n
                            break
                hits, cost = round(hits, 9), round(cost, 9)
                key = (False, cost, -hits) if hits >= target - 1e-9 else (True, -hits, cost)
                if best is None or key < best[0]:
                    best = key, LevelPlan(levels, tuple(map(float, thresholds)), hits, cost, away)
    assert best is not None
    return best[1]


@pytest.mark.parametrize("seed", range(6))
def test_the_choice_is_that_of_trying_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    right = rng.random((25, 3)) < [0.6, 0.75, 0.9]
    confidence, costs = rng.random((25, 3)) + 0.3 * right, [1.0, 3.0, 10.0]
    for target in (0.5, 0.8, 0.92, 1.0):
        found = best_plan(plans(confidence, right, costs, steps=4), target)
        wanted = by_hand(confidence, right, costs, target, 4)
        assert (found.cost, found.accuracy) == pytest.approx((wanted.cost, wanted.accuracy))


def test_a_level_that_brings_nothing_is_left_out(small: TextClassifier, large: TextClassifier) -> None:
    val = LabelledTexts(*texts(clear=1.0))
    assert MultiLevel([small, large], costs=[1, 20]).fit(val).plan.levels == (0,)
    assert MultiLevel([small, large], costs=[20, 1]).fit(LabelledTexts(*texts())).plan.levels == (1,)


def test_a_target_above_all_levels_takes_the_most_accurate(small: TextClassifier, large: TextClassifier) -> None:
    noisy = [label if n % 7 else "up" for n, label in enumerate(texts()[1])]
    found = MultiLevel([small, large], 1.0, costs=[1, 20]).fit(LabelledTexts(texts()[0], noisy))

    assert found.plan.accuracy == max(found.plan.accuracy, *(level.accuracy for level in found.facts))
    assert found.plan.accuracy < 1.0


def test_costs_of_classifiers_are_measured(small: TextClassifier, large: TextClassifier) -> None:
    assert all(level.cost > 0 for level in MultiLevel([small, large]).fit(LabelledTexts(*texts())).facts)


def test_texts_near_a_threshold_may_be_passed_on_by_chance(small: TextClassifier, large: TextClassifier) -> None:
    strategy = MultiLevel([small, large, "strong"], 0.999, costs=[1, 5, 100], spread=0.05)
    answers = {"strong": texts()[1]}
    strategy.fit(LabelledTexts(*texts(), answers=answers))
    evidence = Evidence("", ())
    found = [
        walked(strategy, replace(question("Gold green in 1950"), evidence=replace(evidence, chance=chance)))[0]
        for chance in (0.0, 0.999)
    ]
    assert isinstance(found[1], Answer)  # a high number keeps it
    assert found[0] != found[1]


# --- pruning ------------------------------------------------------------------------------------------------------


def test_only_whole_words_are_left_out_and_the_ones_that_decide_stay(small: TextClassifier) -> None:
    text = "Gold, silver-plated or not, soars in  1950 at the e-market"
    for cut in (0.25, 0.5, 1.0):
        kept = pruned(small, text, cut).split()
        assert "soars" in kept
        assert set(kept) <= set(text.split())
        assert kept == [word for word in text.split() if word in kept]
    assert pruned(small, text, 0.0) == text
    assert pruned(small, "soars", 1.0) == "soars"


def test_a_classifier_that_knows_what_matters_is_asked_for_it() -> None:
    class Attentive:
        labels = ("a", "b")

        def logits(self, given: Sequence[str]) -> Array:
            raise AssertionError("asked")

        def importance(self, words: Sequence[str]) -> list[float]:
            return [float(len(word)) for word in words]

    assert pruned(Attentive(), "of the significant matter", 1.0) == "significant matter"


def test_chat_models_are_sent_pruned_texts_where_they_answer_as_well() -> None:
    asked: list[str] = []

    def ask(model: str, given: Sequence[str]) -> list[str]:
        asked.extend(given)
        return ["down" if any(word in text for word in [*WORDS["down"].split(), "red"]) else "up" for text in given]

    first = TextClassifier.fit(*texts(200, seed=1, clear=0.95), penalty=10.0)
    strategy = MultiLevel([first, "strong"], costs=[0, 1]).fit(LabelledTexts(*texts()), ask=ask)
    assert strategy.cuts[0] > 0.0
    unsure_of = next(text for text in texts()[0] if isinstance(walked(strategy, question(text))[0], Route))
    user = Message("user", f"Headline: {unsure_of}", native="own")
    request = Request((Message("system", "Say up or down."), user), key=unsure_of, key_source="template")
    choice, made = walked(strategy, request)

    assert isinstance(choice, Route)
    assert not made
    assert (choice.model, choice.reason) == ("strong", "last_level")
    assert choice.messages is not None
    assert choice.messages[0] == request.messages[0]
    sent = choice.messages[1]
    assert sent.text.startswith("Headline: ")
    assert sent.native is None
    assert set(sent.text.split()) < set(user.text.split())


def test_pruning_that_harms_is_not_done(small: TextClassifier) -> None:
    def ask(model: str, given: Sequence[str]) -> list[str]:
        """A model that wants its texts whole."""
        return [("down" if "red" in text else "up") if len(text.split()) == 4 else "none" for text in given]

    made, labels = texts()
    strategy = MultiLevel([small, "strong"], costs=[0, 1]).fit(LabelledTexts(made, labels), ask=ask)
    assert strategy.cuts in ((0.0,), ())


# --- chat models --------------------------------------------------------------------------------------------------


def unsure(small: TextClassifier) -> MultiLevel:
    """Of the weak model's answers, every other one that it is not sure of is wrong."""
    made, labels = texts()
    other = {"up": "down", "down": "up"}
    said = [other[label] if n % 6 == 0 else label for n, label in enumerate(labels)]
    sure = [-2.0 if n % 3 == 0 else -0.05 for n in range(len(labels))]
    val = LabelledTexts(made, labels, {"weak": said, "strong": labels}, {"weak": sure})
    return MultiLevel([small, "weak", "strong"], 1.0, costs=[0, 1, 10]).fit(val)


def test_the_last_level_is_routed_to_so_that_it_streams(small: TextClassifier) -> None:
    made, labels = texts()
    strategy = MultiLevel([small, "weak"], costs=[0, 1]).fit(LabelledTexts(made, labels, {"weak": labels}))

    assert walked(strategy, question("Gold red in 1950")) == (Route("weak", reason="last_level"), [])
    assert strategy.models == ("weak", "strong")


def test_log_probabilities_tell_which_answers_to_pass_on(small: TextClassifier) -> None:
    strategy = unsure(small)
    assert strategy.plan.levels == (0, 1, 2)

    for logprob, answered in ((-0.05, True), (-2.0, False)):
        draft = Reply("weak", "Down.", logprobs=(("Down", logprob), (".", logprob)))
        choice, made = walked(strategy, question("Gold red in 1950"), draft)
        assert [call.purpose for call in made] == ["draft"]
        assert made[0].sampling is not None and made[0].sampling.logprobs
        if answered:
            assert isinstance(choice, Answer) and choice.reply is draft
        else:
            assert choice == Route("strong", reason="last_level")


@pytest.mark.parametrize(
    "outcome", [Failure("weak", RuntimeError("down")), Reply("weak", "I cannot tell."), Reply("weak", "")]
)
def test_a_level_that_fails_or_names_no_label_is_passed_over(small: TextClassifier, outcome: Outcome) -> None:
    assert walked(unsure(small), question("Gold red in 1950"), outcome)[0] == Route("strong", reason="last_level")


def test_answers_are_read_as_labels() -> None:
    read = LabelReader(["up", "down", "no change", "change"])

    assert [read(said) for said in ("up", "**Up**.", "I think\nThe answer is: down", "No change")] == [0, 0, 1, 2]
    assert [read(said) for said in ("up or down", "sideways", "", "<think>up</think> down")] == [-1, -1, -1, 1]
    with pytest.raises(ConfigurationError, match="same words"):
        LabelReader(["up", "Up."])


def test_what_a_chat_model_says_is_worth_what_it_was_worth() -> None:
    said, right = np.array([0] * 50 + [1] * 50), np.array([0] * 45 + [1] * 5 + [1] * 25 + [0] * 25)
    level = ChatLevel.fit("weak", said, right, 2, None)

    assert softmax(level.logits(np.array([0, 1, -1])))[:, 0] == pytest.approx([0.9, 0.5, 0.5], abs=0.02)


def test_the_answer_of_a_model_that_is_mostly_wrong_is_not_turned_round() -> None:
    said, right = np.array([0] * 50 + [1] * 50), np.array([1] * 40 + [0] * 10 + [1] * 50)
    chances = softmax(ChatLevel.fit("weak", said, right, 2, None).logits(np.array([0])))[0]

    assert chances.argmax() == 0
    assert chances.max() < 0.51


def test_an_ensemble_is_used_where_it_is_surely_better() -> None:
    """Two levels that are often unsure about different texts, and confident where they are right."""
    rng = np.random.default_rng(0)
    right = rng.integers(0, 2, 600)

    class Noisy:
        labels = ("a", "b")

        def __init__(self, seed: int) -> None:
            noise = np.random.default_rng(seed)
            strength = np.where(noise.random(600) < 0.5, 4.0, 0.3)
            pull = np.where(noise.random(600) < 1.0 / (1.0 + np.exp(-strength)), 1.0, -1.0) * strength
            self.all = np.stack([np.where(right == at, pull, 0.0) for at in (0, 1)], 1)

        def logits(self, given: Sequence[str]) -> Array:
            return self.all[[int(text) for text in given]]

    names = [str(at) for at in range(600)]
    val = LabelledTexts(names, ["ab"[at] for at in right])
    found = MultiLevel([Noisy(1), Noisy(2)], 0.99, costs=[1, 1]).fit(val)
    assert found.ensemble
    said = [found.predict(name) for name in names]
    hits = np.mean([one.label == label for one, label in zip(said, val.labels, strict=True)])
    assert hits > max(level.accuracy for level in found.facts)


# --- files and mistakes -------------------------------------------------------------------------------------------


def test_it_is_the_same_after_a_round_through_a_folder(small: TextClassifier, tmp_path: Path) -> None:
    fitted = unsure(small)
    fitted.save(tmp_path)
    again = MultiLevel.load(tmp_path)

    assert (again.labels, again.plan, again.facts, again.cuts) == (
        fitted.labels, fitted.plan, fitted.facts, fitted.cuts,
    )  # fmt: skip
    for text in ("Gold soars in 1950", "Gold red in 1950"):
        draft = Reply("weak", "down", logprobs=(("down", -0.1),))
        one, other = (walked(strategy, question(text), draft)[0] for strategy in (fitted, again))
        assert type(one) is type(other)
        assert one.reason == other.reason
        if isinstance(one, Answer):
            assert other.confidence == pytest.approx(one.confidence, abs=1e-5)
    with pytest.raises(RouterFileError):
        MultiLevel.load(tmp_path / "nothing")


def test_mistakes_are_told(small: TextClassifier) -> None:
    with pytest.raises(ConfigurationError, match="classifier or the name"):
        MultiLevel([3])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="one to 4"):
        MultiLevel([])
    with pytest.raises(ConfigurationError, match="costs="):
        MultiLevel([small, "strong"])
    with pytest.raises(ConfigurationError, match="not 2 numbers"):
        MultiLevel([small, "strong"], costs=[1])
    with pytest.raises(NotFittedError):
        drive(MultiLevel([small]).steps(question("Gold")), {})
    with pytest.raises(TrainingDataError, match="no answers of 'strong'"):
        MultiLevel([small, "strong"], costs=[0, 1]).fit(LabelledTexts(*texts()))
    with pytest.raises(TrainingDataError, match="No classifier knows.*sideways"):
        MultiLevel([small]).fit(LabelledTexts(["Gold"] * 20, ["sideways", "up"] * 10))
    with pytest.raises(TrainingDataError, match="20 texts, and 3 of labels"):
        LabelledTexts(["Gold"] * 20, ["up"] * 3)
    with pytest.raises(TrainingDataError, match="too few"):
        LabelledTexts(["Gold"], ["up"])
    with pytest.raises(TrainingDataError, match="nothing to learn"):
        TextClassifier.fit(["Gold"] * 20, ["up"] * 20)
