"""Scorers of replies, and the search for a cascade: equal to enumeration, honest about what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

from rar import FunctionModel, Router
from rar.errors import ConfigurationError, NotFittedError, RouterFileError, TrainingDataError
from rar.evaluation import read_outcomes
from rar.looks import sums as sums_in
from rar.outcomes import Outcomes, Replies
from rar.routers import LengthRouter, saving
from rar.strategies import Cascade, CascadeSearch, LearnedScorer
from rar.strategies.candidates import Candidates, Trials, candidates, quantiles
from rar.strategies.reply_words import ReplyWords
from rar.strategies.search import best_within, cheapest_that_keeps, zero_router
from rar.values import Message, Reply, Request, question
from tests.core.sums import sums

QUICK = CascadeSearch(quantiles=6, folds=3, scorer=LearnedScorer(folds=3))


def toy(n: int = 60, models: int = 3, seed: int = 0) -> Trials:
    """Outcomes of models that get better and dearer, and scores that know a little of them."""
    rng = np.random.default_rng(seed)
    scores = (rng.random((n, models)) < np.linspace(0.4, 0.9, models)).astype(float)
    costs = np.linspace(1.0, 9.0, models) * rng.uniform(0.5, 1.5, (n, models))
    order = tuple(range(models))
    accept = {
        (*before, model): 0.4 * scores[:, model] + 0.6 * rng.random(n)
        for model in order
        for before in [(), *((other,) for other in order[:model])]
    }
    return Trials(scores, costs, order, accept, {which: quantiles(score, 4) for which, score in accept.items()})


def enumerated(trials: Trials) -> list[tuple[tuple[int, ...], tuple[float, ...], float, float]]:
    """Each list with each pair of thresholds, asked question by question."""
    found = []
    for size in (1, 2, 3):
        for models in combinations(trials.order, size):
            for cuts in product(*(trials.grid[models[: at + 1]] for at in range(size - 1))):
                quality, cost = [], []
                for row in range(len(trials.scores)):
                    paid = 0.0
                    for at, model in enumerate(models):
                        paid += trials.costs[row, model]
                        if at == size - 1 or trials.accept[models[: at + 1]][row] >= cuts[at]:
                            quality.append(trials.scores[row, model])
                            break
                    cost.append(paid)
                found.append((models, tuple(map(float, cuts)), float(np.mean(quality)), float(np.mean(cost))))
    return found


# --- the search -----------------------------------------------------------------------------------------------------


def test_all_lists_and_thresholds_are_tried_and_their_means_are_those_of_a_walk_through_the_rows() -> None:
    trials = toy()
    found = candidates(trials, 3)
    ours = {found.at(place): (found.quality[place], found.cost[place]) for place in range(len(found))}
    theirs = {(models, cuts): (quality, cost) for models, cuts, quality, cost in enumerated(trials)}

    assert ours.keys() == theirs.keys()
    for which, means in theirs.items():
        assert ours[which] == pytest.approx(means)


def test_standard_errors_are_those_of_the_rows() -> None:
    trials = toy()
    found = candidates(trials, 3)
    for place in range(0, len(found), 7):
        quality, cost = trials.rows_of(*found.at(place))

        assert found.quality_error[place] == pytest.approx(quality.std() / np.sqrt(60))
        assert found.cost_error[place] == pytest.approx(cost.std() / np.sqrt(60))


@pytest.mark.parametrize("budget", [2.0, 5.0, 9.0])
def test_a_budget_buys_the_cheapest_cascade_that_is_as_good_as_the_best_within_it(budget: float) -> None:
    trials = toy(n=400)
    found = candidates(trials, 3)
    place = best_within(trials, found, budget)
    sure = [at for at in range(len(found)) if found.cost[at] + 1.645 * found.cost_error[at] <= budget]
    best = max(sure, key=lambda at: found.quality[at])
    top = trials.rows_of(*found.at(best))[0]
    as_good = []
    for at in sure:
        less = top - trials.rows_of(*found.at(at))[0]
        if less.mean() <= less.std() / 20.0 and found.quality[at] >= found.quality[best] - found.quality_error[best]:
            as_good.append(at)

    assert found.cost[place] == min(found.cost[at] for at in as_good)


def test_a_share_of_quality_is_kept_by_the_cheapest_cascade_that_surely_does() -> None:
    trials = toy(n=400)
    found = candidates(trials, 3)
    place = cheapest_that_keeps(trials, found, 0.9, last=2)

    def keeps(at: int) -> bool:
        surplus = trials.rows_of(*found.at(at))[0] - 0.9 * trials.scores[:, 2]
        return bool(surplus.mean() >= 1.645 * surplus.std() / 20.0)

    assert found.cost[place] == min(found.cost[at] for at in range(len(found)) if keeps(at))


def test_the_last_model_is_left_where_nothing_else_keeps_the_share() -> None:
    trials = toy()
    few = candidates(trials, 1)

    assert few.at(cheapest_that_keeps(trials, few, 1.0, last=2)) == ((2,), ())


def test_single_models_are_mixed_for_what_lies_between_them() -> None:
    costs, qualities = np.array([1.0, 3.0, 2.0]), np.array([0.5, 0.9, 0.6])

    assert zero_router(costs, qualities, 2.0) == pytest.approx(0.7)  # the dominated one is not used
    assert zero_router(costs, qualities, 0.1) == 0.5
    assert zero_router(costs, qualities, 9.0) == 0.9


def test_thresholds_are_different_and_none_accepts_all() -> None:
    assert quantiles(np.array([0.2, 0.2, 0.2, 0.9]), 8).tolist() == [0.9]
    assert len(quantiles(np.full(10, 0.5), 8)) == 0


def test_a_cascade_is_found_where_replies_tell_how_good_they_are() -> None:
    found = Cascade.fit(sums(), keep_quality=0.95, search=QUICK)

    assert found.found is not None and found.found.worthwhile
    assert found.models[0] == "weak" and found.models[-1] == "strong"
    assert found.found.gain.low > 0.0
    assert found.found.cost.value < 15.0
    assert found.found.quality.value > 0.9


def test_no_cascade_is_found_where_replies_tell_nothing() -> None:
    found = Cascade.fit(sums(60, ("small", "large"), tells=False), keep_quality=0.99, search=QUICK)

    assert found.found is not None and not found.found.worthwhile
    assert (found.models, found.threshold) == (("strong",), ())
    assert served(found, weak="a", strong="b") == ("strong", "no_cascade")


def test_a_budget_is_kept_on_new_questions() -> None:
    search = replace(QUICK, depth=2)
    found = Cascade.fit(
        sums(), budget=8.0, search=search, names={"small": "small", "middle": "middle", "large": "large"}
    )
    new = sums(400, seed=9).of_models(*found.models)
    assert isinstance(found.accept, LearnedScorer) and isinstance(found.threshold, tuple)
    accepted = found.accept.scores(new)[:, 0] >= found.threshold[0]

    assert new.costs is not None
    assert (new.costs[:, 0] + np.where(accepted, 0.0, new.costs[:, 1])).mean() <= 1.03 * 8.0


def test_the_frontier_has_what_no_other_beats() -> None:
    found = QUICK.fit(sums(), budget=8.0)
    frontier = found.frontier()
    costs, qualities = [p.cost for p in frontier.points], [p.quality for p in frontier.points]

    assert costs == sorted(costs) and qualities == sorted(qualities)
    assert [point.models for point in frontier.singles] == [("weak",), ("middle",), ("strong",)]
    assert frontier.unit == "USD"


def test_the_frontier_can_be_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    QUICK.fit(sums(60), budget=8.0).frontier().plot().savefig(tmp_path / "frontier.png")

    assert (tmp_path / "frontier.png").stat().st_size > 1_000


def test_costs_are_strong_calls_where_no_prices_are_known() -> None:
    found = QUICK.fit(replace(sums(), costs=None), keep_quality=0.95)

    assert found.unit == "strong calls"
    assert found.cost.value < 1.0


def test_what_cannot_be_asked_for_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="either budget or keep_quality"):
        QUICK.fit(sums(30))
    with pytest.raises(ConfigurationError, match="buys no model: the cheapest costs 1"):
        QUICK.fit(sums(30), budget=0.5)
    with pytest.raises(ConfigurationError, match="depth"):
        CascadeSearch(depth=4)
    with pytest.raises(TrainingDataError, match="no replies.*replies=True"):
        QUICK.fit(replace(sums(30), replies=None), budget=5.0)


# --- scorers --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scorer() -> LearnedScorer:
    return LearnedScorer(folds=3).fit(sums())


def test_a_reply_that_doubts_scores_less(scorer: LearnedScorer) -> None:
    asked = question("How much is 120 plus 340?")
    sure, unsure = Reply("small", "the answer is 460"), Reply("small", "I am not certain, perhaps the answer is 461")

    assert scorer.score(asked, sure) > 0.7 > 0.3 > scorer.score(asked, unsure)


def test_agreement_with_another_model_raises_a_score_and_a_difference_lowers_it() -> None:
    scorer = LearnedScorer(folds=3).fit(sums(400, tells=False))
    asked, mine = question("How much is 120 plus 340?"), Reply("middle", "the answer is 460")
    alone = scorer.score(asked, mine)

    assert scorer.score(asked, mine, [Reply("small", "the answer is 460")]) > alone
    assert scorer.score(asked, mine, [Reply("small", "the answer is 470")]) < alone


def test_one_reply_scores_as_recorded_ones_do(scorer: LearnedScorer) -> None:
    data = sums()
    assert data.replies is not None and data.replies.texts is not None
    many = scorer.scores(data)
    for row in (0, 7, 20):
        replies = [Reply(model, text) for model, text in zip(data.models, data.replies.texts[row], strict=True)]
        ones = [scorer.score(question(data.texts[row]), reply, replies[:at]) for at, reply in enumerate(replies)]

        assert ones == pytest.approx(many[row])


def test_scores_out_of_fold_are_of_fits_that_did_not_see_the_text() -> None:
    data = sums(120, tells=False)  # a reply's own words tell nothing, but a fit that saw it may know it by heart
    assert data.replies is not None and data.replies.texts is not None
    answers, right = data.replies.texts[:, 0], data.scores[:, 0] > 0
    seen = ReplyWords.fit(data.texts, answers, data.scores[:, 0], 3.0).score(data.texts, answers)
    unseen = LearnedScorer().read(data).words[:, 0]

    assert seen[right].mean() - seen[~right].mean() > 0.1
    assert abs(unseen[right].mean() - unseen[~right].mean()) < 0.05


def test_equal_texts_share_a_fold() -> None:
    data = sums(20)
    parts = LearnedScorer().parts(replace(data, texts=data.texts[:10] * 2))

    assert parts[:10].tolist() == parts[10:].tolist()


def test_log_probabilities_count_where_they_are_known(tmp_path: Path) -> None:
    data = sums(tells=False)
    assert data.replies is not None
    chances = np.where(data.scores > 0, -0.1, -0.9)
    known = LearnedScorer(folds=3).fit(replace(data, replies=replace(data.replies, logprobs=chances)))
    asked = question("How much is 120 plus 340?")
    sure, unsure = (Reply("small", "the answer is 460", logprobs=(("460", chance),)) for chance in (-0.1, -0.9))

    assert known.logprobs and not LearnedScorer(folds=3).fit(data).logprobs
    assert known.score(asked, sure) > known.score(asked, unsure) + 0.3
    steps = Cascade(known, ["small", "large"]).steps(asked)
    (call,) = next(steps)
    assert call.sampling is not None and call.sampling.logprobs


def test_a_scorer_and_its_cascade_are_the_same_after_a_round_through_a_folder(
    scorer: LearnedScorer, tmp_path: Path
) -> None:
    scorer.save(tmp_path / "scorer")
    Cascade(scorer, ["small", "large"], [0.6]).save(tmp_path / "cascade")
    again, cascade = LearnedScorer.load(tmp_path / "scorer"), Cascade.load(tmp_path / "cascade")

    assert again.models == scorer.models
    assert again.scores(sums(20)) == pytest.approx(scorer.scores(sums(20)), abs=1e-5)
    assert (tuple(cascade.models), cascade.threshold) == (("small", "large"), (0.6,))
    with pytest.raises(RouterFileError, match="do not fit together"):
        Cascade.load(tmp_path / "scorer")


def test_a_folder_of_another_kind_is_no_scorer(tmp_path: Path) -> None:
    LengthRouter().fit(sums().pair("small", "large")).save(tmp_path)
    with pytest.raises(RouterFileError, match="not that of a scorer"):
        LearnedScorer.load(tmp_path)
    LearnedScorer(folds=3).fit(sums(30)).save(tmp_path / "scorer")
    with pytest.raises(RouterFileError, match="not that of a router"):
        saving.read(tmp_path / "scorer")


def test_a_scorer_says_what_it_lacks(scorer: LearnedScorer) -> None:
    with pytest.raises(NotFittedError):
        LearnedScorer().score(question("?"), Reply("small", "460"))
    with pytest.raises(ConfigurationError, match="fitted to.*asked about 'huge'"):
        scorer.score(question("?"), Reply("huge", "460"))
    with pytest.raises(ConfigurationError, match="function, which no file holds"):
        LearnedScorer(folds=3, extract=lambda request, reply: reply.text).fit(sums(30)).save("nowhere")
    with pytest.raises(TrainingDataError, match="9 rows are too few"):
        LearnedScorer().fit(sums(9))


def test_scores_beyond_one_are_brought_between_the_bounds() -> None:
    data = sums(60)
    graded = replace(data, scores=data.scores * 10.0)

    assert LearnedScorer(folds=3).fit(graded).scores(data) == pytest.approx(
        LearnedScorer(folds=3).fit(data).scores(data)
    )


def test_sums_in_an_answer_are_checked() -> None:
    assert sums_in("3 * 4 = 12, so $1,200 / 2 = $600 and 5 + 5 = 11") == (2, 1)
    assert sums_in("2 + 3 * 4 = 14 and 10 / 3 = 3.33") == (1, 0)
    assert sums_in("7 / 0 = 0") == (0, 1)


def test_log_probabilities_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    rows = ["text,a,b,a_answer,b_answer,a_logprob,b_logprob", "Hi?,1,0,yes,no,-0.2,", "Ho?,1,0,yes,no,-0.3,-1"]
    file.write_text("\n".join(rows), "utf-8")
    found = read_outcomes(file, models=["a", "b"], replies=True)

    assert isinstance(found.replies, Replies) and found.replies.logprobs is not None
    assert np.array_equal(found.replies.logprobs, [[-0.2, np.nan], [-0.3, -1.0]], equal_nan=True)


# --- the cascade that was found -------------------------------------------------------------------------------------


class Told:
    """A scorer that keeps what it was told."""

    def __init__(self, *scores: float) -> None:
        self.scores, self.earlier = list(scores), []

    def score(self, request: Request, reply: Reply, earlier: Sequence[Reply] = ()) -> float:
        self.earlier.append([other.text for other in earlier])
        return self.scores.pop(0)


def say(name: str, text: str) -> FunctionModel:
    def model(messages: Sequence[Message]) -> str:
        if not text:
            raise ConnectionError("down")
        return text

    return FunctionModel(model, name)


def served(cascade: Cascade, **texts: str) -> tuple[str, str]:
    models = {name: say(name, text) for name, text in texts.items()}
    weak, strong = models.pop("weak"), models.pop("strong")
    with Router(weak, strong, models=models, memory=None, strategy=cascade) as router:
        decision = router.decide(question("Which?"))
    return decision.model, decision.choice.reason


def test_each_draft_is_held_against_a_threshold_of_its_own() -> None:
    models = ["weak", "middle", "strong"]
    texts = {"weak": "a", "middle": "b", "strong": "c"}

    assert served(Cascade(Told(0.6, 0.6), models, [0.7, 0.5]), **texts) == ("middle", "draft_accepted")
    assert served(Cascade(Told(0.6, 0.6), models, [0.7, 0.7]), **texts) == ("strong", "drafts_rejected")


def test_a_scorer_is_told_what_earlier_models_replied_and_nothing_of_those_that_failed() -> None:
    told = Told(0.0, 0.0)
    cascade = Cascade(told, ["weak", "broken", "middle", "strong"], 0.5)
    served(cascade, weak="a", broken="", middle="b", strong="c")

    assert told.earlier == [[], ["a"]]


def test_what_scores_no_draft_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="scores no draft"):
        Cascade(LengthRouter(), ["weak", "strong"])  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="has 2 values, and 1 drafts"):
        Cascade(Told(), ["weak", "strong"], [0.5, 0.6])
    with pytest.raises(ConfigurationError, match="at least two models"):
        Cascade(Told(), ["weak"])


def test_a_list_of_outcomes_with_gaps_is_fitted_on_the_rows_that_all_models_have() -> None:
    data: Outcomes = sums(80)
    scores = data.scores.copy()
    scores[:10, 1] = np.nan
    found: Candidates = candidates(QUICK.trials(replace(data, scores=scores).of_models(*data.models)), 3)

    assert not np.isnan(found.quality).any()
