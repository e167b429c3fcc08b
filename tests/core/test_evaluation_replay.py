"""Replays through the real engine on a small world: sums are easy for the weak model, riddles are not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar.embedding import HashingEmbedder
from rar.errors import ConfigurationError, ReplayError
from rar.evaluation import OURS, Table, embedded, engine, metrics, replay_online, shuffle, stages, static, stream
from rar.evaluation.baselines import (
    Baseline,
    Scorer,
    baselines,
    group_prior,
    nearest_neighbours,
    of_static_router,
    paper_rule,
    tfidf_ridge,
)
from rar.evaluation.compare import summarise_online, summarise_stages, summarise_static
from rar.evaluation.embeddings import DiskCachedEmbedder
from rar.outcomes import Replies
from rar.routers import KNNRouter, TfidfRouter, as_static_router
from rar.values import STRONG, WEAK

EMBEDDER = HashingEmbedder(64)
COLOURS = ["red", "blue", "green", "white", "black", "grey", "pink", "brown"]


def world(n: int = 60) -> Table:
    """Half sums, half riddles; the strong model is right on both."""
    sums = [f"What is the sum of {i} and {i + 1} apples on the table?" for i in range(n // 2)]
    riddles = [f"Riddle: who hides the {COLOURS[i % 8]} key {i} under an old castle bridge?" for i in range(n - n // 2)]
    texts = (*sums, *riddles)
    weak = np.r_[np.ones(len(sums)), np.zeros(len(riddles))]
    groups = tuple(f"sum {i % 3}" for i in range(len(sums))) + tuple(f"riddle {i % 3}" for i in range(len(riddles)))
    return Table.of_scores(
        texts,
        weak,
        np.ones(n),
        groups=groups,
        vectors=EMBEDDER.embed(texts),
        embedder_id=EMBEDDER.id,
        weak_id="s",
        strong_id="l",
    )


WORLD = world()


# --- online ---------------------------------------------------------------------------------------------------------


def always_weak(**options: Any) -> dict[str, Any]:
    return {"static_router": lambda text: 0.0, "learning_budget": None, **options}


def test_each_question_comes_once_in_an_order_of_its_shuffle() -> None:
    result = replay_online(WORLD, shuffles=2)

    for k, run in enumerate(result.runs):
        assert run.rows.tolist() == shuffle(WORLD, k).tolist()
        assert sorted(run.rows) == list(range(len(WORLD)))
        assert run.table.texts == WORLD.take(run.rows).texts


def test_a_cold_router_asks_the_strong_model_first() -> None:
    assert replay_online(WORLD, shuffles=1).runs[0].strong[0]


def test_what_was_learned_saves_calls_and_keeps_quality() -> None:
    result = replay_online(WORLD, shuffles=2, quality=0.9)

    assert result.saved.min() > 0.1
    assert result.second_half.min() > 0.9


def test_every_strong_call_is_counted_once() -> None:
    run = stream(WORLD, quality=0.5, **always_weak(audit_rate=1.0))

    assert run.audited.any()
    assert (run.calls[WEAK, "audit"] == run.audited).all()
    assert (run.of(STRONG) == 1).all()
    assert run.saved() == 0.0
    assert run.realised() == 1.0  # what is paid for is served


def test_calls_nobody_checks_cost_and_teach_nothing() -> None:
    run = stream(WORLD, quality=0.5, **always_weak(audit_rate=0.0))

    assert set(run.calls) == {(WEAK, "serve")}
    assert run.saved() == 1.0
    assert run.realised() == pytest.approx(0.5)


def test_the_weak_model_is_tried_on_what_the_strong_one_answered() -> None:
    run = stream(WORLD, policy="paper")

    assert (run.calls[WEAK, "shadow"] == run.strong).all()


def test_shadow_calls_cost_what_the_weak_model_costs() -> None:
    priced = replace(WORLD, costs=np.tile([0.5, 4.0], (60, 1)))

    run = stream(priced, policy="paper", learning_budget=None)

    assert run.costs[run.strong] == pytest.approx(4.5)
    assert run.costs[~run.strong] == pytest.approx(0.5)
    assert run.always_strong_costs == pytest.approx(4.0)


def test_seeds_make_replays_repeatable() -> None:
    first, again = (replay_online(WORLD, shuffles=1, seed=5, audit_rate=0.5).runs[0] for _ in range(2))

    assert first.strong.tolist() == again.strong.tolist()
    assert first.of(STRONG).tolist() == again.of(STRONG).tolist()
    assert first.reasons == again.reasons


def test_recorded_answers_may_be_judged_instead_of_scores() -> None:
    answers = ("It is 7.",) * len(WORLD)
    answered = replace(WORLD, replies=Replies(np.array([answers, answers]).T))

    run = stream(answered, judge="number", policy="paper")

    assert set(run.reasons) == {"no_evidence", "memory_weak"} or set(run.reasons) == {"no_evidence"}
    assert run.good[run.strong].all()


def test_means_over_shuffles_belong_to_the_questions() -> None:
    result = replay_online(WORLD, shuffles=3)

    assert result.mean_of([run.table.weak for run in result.runs]).tolist() == WORLD.weak.tolist()
    assert result.scores.sum() / WORLD.strong.sum() == pytest.approx(result.realised.mean())
    assert 1.0 - result.strong_calls.mean() == pytest.approx(result.saved.mean())


def test_progress_is_told_to_the_end() -> None:
    told: list[tuple[str, int, int]] = []

    replay_online(WORLD, shuffles=2, progress=lambda *step: told.append(step))

    assert [step for step in told if step[1] == step[2]] == [
        ("floor at 0.95, shuffle 1 of 2", 60, 60),
        ("floor at 0.95, shuffle 2 of 2", 60, 60),
    ]


def test_a_failing_engine_fails_the_replay() -> None:
    def broken(text: str) -> float:
        raise ZeroDivisionError("no score")

    with pytest.raises(ReplayError, match=r"ZeroDivisionError at test_evaluation_replay\.py:\d+\. Mend that first"):
        stream(WORLD, static_router=broken)


def test_no_shuffle_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="shuffles=0"):
        replay_online(WORLD, shuffles=0)


# --- stages ---------------------------------------------------------------------------------------------------------


def test_repeats_follow_their_own_verdict() -> None:
    result = stages(WORLD, stages=3, shuffles=2, policy="paper", learning_budget=None)

    for first, *repeats in result.runs:
        assert sorted(first.rows) == list(range(60))
        for run in repeats:
            assert run.strong.tolist() == (run.table.weak < run.table.strong).tolist()
            assert run.good.all()


def test_calls_are_counted_by_stage() -> None:
    first, second = stages(WORLD, stages=2, shuffles=1, policy="paper", learning_budget=None).runs[0]

    assert first.of(STRONG).sum() > second.of(STRONG).sum() == 30


# --- static ---------------------------------------------------------------------------------------------------------


def test_nothing_is_scored_by_what_saw_it() -> None:
    seen_by: list[tuple[Table, Table]] = []

    def scorer(seen: Table, asked: Table) -> np.ndarray:
        seen_by.append((seen, asked))
        return np.zeros(len(asked))

    result = static(WORLD, splits=2, folds=3, scorers={"none": scorer})

    assert all(not set(seen.texts) & set(asked.texts) for seen, asked in seen_by)
    assert all(len(seen) + len(asked) == 60 for seen, asked in seen_by)
    assert all(not set(seen.groups or ()) & set(asked.groups or ()) for seen, asked in seen_by[2:])
    assert result.left_out is not None
    assert sorted(result.left_out.rows) == list(range(60))


def test_scores_of_two_fits_are_not_compared() -> None:
    def unequal(seen: Table, asked: Table) -> np.ndarray:
        return np.full(len(asked), seen.gap.mean())  # says nothing about a question, and differs between the parts

    left_out = static(WORLD, splits=1, folds=3, scorers={"unequal": unequal}).left_out

    assert left_out is not None
    assert left_out.scores["unequal"].tolist() == [0.5] * 60


def test_one_group_cannot_be_left_out() -> None:
    with pytest.raises(ConfigurationError, match="of the group 'all'"):
        static(replace(WORLD, groups=("all",) * 60), splits=1, scorers={})


def test_tables_without_groups_have_nothing_left_out() -> None:
    assert static(replace(WORLD, groups=None), splits=1, scorers={}).left_out is None


def test_the_engine_tells_kinds_apart_that_it_has_seen() -> None:
    order = shuffle(WORLD, 0)
    asked = WORLD.take(order[30:])

    scores = engine()(WORLD.take(order[:30]), asked)

    assert metrics.apgr(scores, asked.weak, asked.strong) > 0.9 * metrics.apgr(asked.gap, asked.weak, asked.strong)


def test_the_engine_learns_nothing_from_what_it_is_asked() -> None:
    order = shuffle(WORLD, 0)
    seen, asked = WORLD.take(order[:30]), WORLD.take(order[30:])

    both_ways = engine()(seen, asked), engine()(seen, asked.take(range(29, -1, -1)))[::-1]

    assert both_ways[0] == pytest.approx(both_ways[1])


# --- baselines ------------------------------------------------------------------------------------------------------


def test_online_baselines_see_only_the_past() -> None:
    def last_seen(seen: Table, asked: Table) -> np.ndarray:
        return np.full(len(asked), float(len(seen)))

    scores = Baseline("", last_seen, growth=1.5).prequential(WORLD, start=10)

    assert np.isinf(scores[:10]).all()
    assert all(scores[row] <= row for row in range(10, 60))


def test_baselines_need_what_they_use() -> None:
    assert [b.name for b in baselines(replace(WORLD, groups=None, vectors=None))] == ["prompt length", "TF-IDF ridge"]
    assert len(baselines(WORLD)) == 4


@pytest.mark.parametrize("baseline", baselines(WORLD)[1:], ids=lambda baseline: baseline.name)
def test_baselines_tell_the_kinds_apart(baseline: Baseline) -> None:
    order = shuffle(WORLD, 1)
    asked = WORLD.take(order[45:])

    scores = baseline.scorer(WORLD.take(order[:45]), asked)

    assert scores[asked.gap > 0].min() > scores[asked.gap == 0].max()


def test_group_prior_is_drawn_towards_the_mean() -> None:
    seen = Table.of_scores(("a", "b", "c"), np.array([0.0, 1.0, 1.0]), np.ones(3), groups=("x", "x", "y"))
    asked = Table.of_scores(("d", "e", "f"), np.zeros(3), np.ones(3), groups=("x", "y", "z"))

    # Gaps 1, 0 | 0, mean 1/3; prior weight 2.
    assert group_prior(seen, asked, prior_weight=2.0) == pytest.approx([(1 + 2 / 3) / 4, (0 + 2 / 3) / 3, 1 / 3])


def test_fitted_baselines_are_the_routers_of_that_name() -> None:
    order = shuffle(WORLD, 3)
    seen, asked = WORLD.take(order[:45]), WORLD.take(order[45:])

    neighbours = KNNRouter(embedder=EMBEDDER).fit(seen)
    assert nearest_neighbours(seen, asked).tolist() == neighbours.score(asked.texts).tolist()
    assert tfidf_ridge(seen, asked).tolist() == TfidfRouter().fit(seen).score(asked.texts).tolist()


@pytest.mark.parametrize("baseline", [nearest_neighbours, tfidf_ridge])
def test_fitted_baselines_tell_gaps_of_any_size_apart(baseline: Scorer) -> None:
    wide = replace(WORLD, scores=WORLD.scores * 10.0)

    assert baseline(wide, WORLD) == pytest.approx(baseline(WORLD, WORLD))


@pytest.mark.parametrize("baseline", [nearest_neighbours, tfidf_ridge])
def test_where_nothing_is_to_be_learned_baselines_score_all_alike(baseline: Scorer) -> None:
    alike = WORLD.take(range(30))

    assert baseline(alike, WORLD).tolist() == [0.0] * 60
    assert baseline(WORLD.take(range(28, 33)), WORLD).tolist() == [0.0] * 60


def test_paper_rule_trusts_only_near_verdicts() -> None:
    scores = paper_rule(WORLD, WORLD)

    assert scores.tolist() == (WORLD.gap > 0).astype(float).tolist()
    assert paper_rule(WORLD.take(range(30, 60)), WORLD.take(range(30))).tolist() == [1.0] * 30


def test_static_routers_are_scorers() -> None:
    router = as_static_router(lambda text: float("Riddle" in text))
    assert router is not None

    assert of_static_router(router)(WORLD, WORLD).tolist() == WORLD.gap.tolist()


# --- comparisons ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def summary() -> Any:
    return summarise_online(
        replay_online(WORLD, shuffles=2), replay_online(WORLD, shuffles=2, policy="paper"), samples=100
    )


def test_all_baselines_stand_beside_ours(summary: Any) -> None:
    assert [rival.name for rival in summary.rivals] == [
        "weak only",
        "strong only",
        "random mix",
        'policy="paper"',
        "prompt length",
        "group prior",
        "TF-IDF ridge",
        "k-nearest neighbours",
        "ideal static router",
        "oracle",
    ]


def test_rivals_are_compared_at_our_strong_calls(summary: Any) -> None:
    mix = next(rival for rival in summary.rivals if rival.name == "random mix")

    share = 1.0 - summary.saved.value
    assert mix.quality == pytest.approx(0.5 + 0.5 * share)  # the weak model is right on half
    assert mix.ahead.value == pytest.approx(summary.realised.value - mix.quality)
    assert mix.ahead.low <= mix.ahead.value <= mix.ahead.high
    assert mix.saved == pytest.approx(1.0 - (summary.realised.value - 0.5) / 0.5)


def test_nobody_is_ahead_of_the_oracle(summary: Any) -> None:
    oracle = summary.rivals[-1]

    assert oracle.gap_to_oracle == 0.0
    assert oracle.ahead.high <= 0.0
    assert all(rival.saved <= oracle.saved + 1e-9 for rival in summary.rivals if rival.saved is not None)


def test_summaries_are_json(summary: Any) -> None:
    parts = [
        summary.as_dict(),
        summarise_static(static(WORLD, splits=1), samples=20).as_dict(),
        summarise_stages(stages(WORLD, stages=2, shuffles=1), samples=20).as_dict(),
    ]

    assert all(json.loads(json.dumps(part, allow_nan=False))["facts"]["questions"] == 60 for part in parts)


def test_static_scores_are_compared_with_ours() -> None:
    found = summarise_static(static(WORLD, splits=2), samples=50)

    by_name = {scored.name: scored for scored in found.halves}
    assert by_name["random mix"].apgr.value == pytest.approx(0.5)
    assert by_name["oracle"].apgr.value == pytest.approx(0.75, abs=0.05)
    assert by_name[OURS].ahead is None
    ahead = by_name["random mix"].ahead
    assert ahead is not None and ahead.value == pytest.approx(by_name[OURS].apgr.value - 0.5)
    assert [scored.name for scored in found.left_out] == [scored.name for scored in found.halves]


def test_first_sights_and_repeats_are_told_apart() -> None:
    found = summarise_stages(stages(WORLD, stages=3, shuffles=2, policy="paper"), samples=50)

    assert [stage.repeats for stage in found.ours] == [False, True, True]
    assert found.paper == ()


# --- embeddings on disk ---------------------------------------------------------------------------------------------


class Counting:
    id, dim = "counting/1", 2

    def __init__(self) -> None:
        self.seen: list[str] = []

    def embed(self, texts: Any) -> np.ndarray:
        self.seen += texts
        return np.array([[len(text), 1.0] for text in texts], np.float32)


def test_texts_are_embedded_once_in_all_processes(tmp_path: Path) -> None:
    first, second = Counting(), Counting()

    DiskCachedEmbedder(first, tmp_path).embed(["a", "bb", "a"])
    vectors = DiskCachedEmbedder(second, tmp_path).embed(["bb", "ccc", "a"])

    assert (first.seen, second.seen) == (["a", "bb"], ["ccc"])
    assert vectors[:, 0].tolist() == [2.0, 3.0, 1.0]


def test_the_cache_holds_no_text(tmp_path: Path) -> None:
    cached = DiskCachedEmbedder(Counting(), tmp_path)
    cached.embed(["a secret question"])

    assert b"secret" not in cached.file.read_bytes()


def test_embedded_tables_are_left_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAR_CACHE", str(tmp_path))

    assert embedded(WORLD) is WORLD
    made = embedded(replace(WORLD, vectors=None), EMBEDDER)
    assert made.embedder_id == EMBEDDER.id
    assert made.vectors == pytest.approx(WORLD.vectors)
