"""Policies: properties over all evidence, and the few rules that a table shows best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar.errors import ConfigurationError, UnknownNameError
from rar.learning.policy import FloorPolicy, PaperPolicy, as_policy, due, verdict, works
from rar.values import STRONG, WEAK, Evidence, Experience, Guide, GuideMatch, Match, Tally

NOWHERE = np.zeros(0, np.float32)


def guide(id: str = "g", *, helpful: int = 2, harmful: int = 0) -> Guide:
    return Guide(id, "default", "answer", "1. Think.", NOWHERE, "big", "e", "active", helpful, harmful)


def tally(guide_id: str | None = None, *, ok: int = 1, bad: int = 0, weak: str = "small", at: float = 0.0) -> Tally:
    return Tally(guide_id, weak, "big", ok, bad, ok >= bad and ok > 0, at)


def match(*tallies: Tally, similarity: float = 0.9, same: bool = False, id: str = "e") -> Match:
    return Match(Experience(id, "default", "answer", "q", "s", NOWHERE, tallies), similarity, same)


def evidence(*matches: Match, guides: tuple[GuideMatch, ...] = (), **fields: object) -> Evidence:
    return replace(Evidence("small", "big", matches=matches, guides=guides), **fields)  # type: ignore[arg-type]


tallies = st.builds(
    lambda guide_id, ok, bad, last: Tally(guide_id, "small", "big", ok, bad, last, 0.0),
    st.sampled_from([None, "g"]),
    st.integers(0, 5),
    st.integers(0, 5),
    st.booleans(),
).filter(lambda t: t.ok + t.bad > 0)
matches = st.lists(
    st.builds(
        lambda ts, s: match(*ts, similarity=s), st.lists(tallies, max_size=2), st.floats(-1.0, 1.0, allow_nan=False)
    ),
    max_size=8,
)
chances = st.floats(0.0, 1.0, allow_nan=False)


@pytest.mark.parametrize("policy", [FloorPolicy(), PaperPolicy()])
def test_without_evidence_the_strong_model_answers(policy: FloorPolicy | PaperPolicy) -> None:
    assert policy.choose(evidence()).model == STRONG


@pytest.mark.parametrize("policy", [FloorPolicy(), PaperPolicy()])
def test_a_repeated_request_follows_its_verdict(policy: FloorPolicy | PaperPolicy) -> None:
    assert policy.choose(evidence(match(tally(ok=1), same=True))).model == WEAK
    assert policy.choose(evidence(match(tally(ok=0, bad=1), same=True))).model == STRONG


def test_a_repeated_request_takes_the_guide_that_worked_for_it() -> None:
    seen = match(tally(ok=0, bad=1), tally("g", ok=2), same=True)
    with_guide = evidence(seen, guides=(GuideMatch(guide("g"), 0.4),))

    route = FloorPolicy().choose(with_guide)

    assert (route.model, route.guide, route.reason) == (WEAK, guide("g"), "memory_guided")


def test_a_guide_that_is_no_longer_active_is_not_served() -> None:
    seen = match(tally(ok=0, bad=1), tally("g", ok=2), same=True)

    assert FloorPolicy().choose(evidence(seen)).model == STRONG


@pytest.mark.parametrize("policy", [FloorPolicy(), PaperPolicy()])
def test_verdicts_of_another_pair_of_models_prove_nothing(policy: FloorPolicy | PaperPolicy) -> None:
    seen = match(tally(ok=9, weak="small-v1"), same=True)

    assert verdict(seen, evidence(seen)) is None
    assert policy.choose(evidence(seen)).model == STRONG


@given(matches, chances, chances)
def test_the_floor_policy_serves_by_weak_only_above_its_threshold(
    near: list[Match], threshold: float, prior: float
) -> None:
    route = FloorPolicy().choose(evidence(*near, threshold=threshold, prior=prior))

    assert route.model == STRONG or (route.confidence is not None and route.confidence >= threshold)


@given(matches, chances)
def test_more_success_nearby_never_lowers_the_bound(near: list[Match], prior: float) -> None:
    policy = FloorPolicy()
    before = policy.alone(evidence(*near, prior=prior))

    after = policy.alone(evidence(*near, match(tally(ok=1), similarity=1.0, id="new"), prior=prior))

    assert after >= before - 1e-9


@given(matches, chances)
def test_more_failure_nearby_never_raises_the_bound(near: list[Match], prior: float) -> None:
    policy = FloorPolicy(caution=0.0)
    before = policy.alone(evidence(*near, prior=prior))

    assert policy.alone(evidence(*near, match(tally(ok=0, bad=1), similarity=1.0), prior=prior)) <= before + 1e-9


@given(st.lists(st.booleans(), min_size=1, max_size=50), st.floats(0.5, 1.0))
def test_an_audit_that_fails_raises_the_threshold_and_one_that_agrees_lowers_it(
    oks: list[bool], quality: float
) -> None:
    policy = FloorPolicy(quality=quality)
    for ok in oks:
        step = policy.step("default", served=WEAK, ok=ok)
        assert step is not None
        assert step.audit and step.error is not ok
        assert step.delta <= 0.0 if ok else step.delta >= 0.0


@pytest.mark.parametrize("quality", [0.8, 0.95])
def test_the_threshold_settles_where_the_error_over_all_answers_meets_the_floor(quality: float) -> None:
    """Where a weak answer of confidence c is right with chance c, the long-run error must come to 1 - quality."""
    policy, chance = FloorPolicy(quality=quality, audit_rate=0.2), np.random.default_rng(0)
    threshold, wrong, calls = policy.start, 0, 20_000
    for _ in range(calls):
        confidence = chance.uniform(0.3, 1.0)
        if confidence < threshold:
            step = policy.step("default", served=STRONG, ok=None)
        else:
            ok = bool(chance.random() < confidence)
            wrong += not ok
            step = policy.step("default", served=WEAK, ok=ok if chance.random() < policy.audit_rate else None)
        if step is not None:
            threshold = min(max(threshold + step.delta, step.low), step.high)

    assert wrong / calls == pytest.approx(1.0 - quality, abs=0.02)


@given(st.floats(0.0, 1.0, exclude_max=True), st.floats(0.0, 1.0))
def test_only_weak_answers_are_audited_and_only_by_chance(draw: float, rate: float) -> None:
    served_weak = FloorPolicy(audit_rate=rate).choose(evidence(match(tally(), same=True), draw=draw))
    served_strong = FloorPolicy(audit_rate=rate).choose(evidence(draw=draw))

    assert served_weak.audit is (draw < rate)
    assert served_strong.audit is False


def test_a_near_guide_with_a_record_is_used_and_a_far_one_is_not() -> None:
    policy, proven = FloorPolicy(), guide(helpful=20)
    bad_alone = [match(tally(ok=0, bad=1), id=str(i)) for i in range(5)]

    near = policy.choose(evidence(*bad_alone, guides=(GuideMatch(proven, 0.85),), threshold=0.7))
    far = policy.choose(evidence(*bad_alone, guides=(GuideMatch(proven, 0.3),), threshold=0.7))

    assert (near.model, near.guide) == (WEAK, proven)
    assert far.model == STRONG


def test_the_static_router_decides_for_the_paper_policy_where_memory_is_silent() -> None:
    assert PaperPolicy().choose(evidence(prior=0.9)).model == WEAK
    assert PaperPolicy().choose(evidence(prior=0.1)).model == STRONG
    assert PaperPolicy().choose(evidence(match(tally(), similarity=0.96), prior=0.1)).model == STRONG
    assert PaperPolicy().choose(evidence(match(tally(), similarity=0.98), prior=0.1)).model == WEAK


def test_a_request_is_due_when_unproven_or_long_strong_only_and_not_when_weak_works() -> None:
    unproven = match(tally(weak="old")).experience
    fails = match(tally(ok=0, bad=1, at=100.0)).experience
    fine = match(tally(ok=1, at=0.0)).experience

    assert due(unproven, "small", "big", now=100.0, retry_after=50.0)
    assert not due(fails, "small", "big", now=149.0, retry_after=50.0)
    assert due(fails, "small", "big", now=150.0, retry_after=50.0)
    assert not due(fine, "small", "big", now=1e9, retry_after=50.0)


@pytest.mark.parametrize(
    ("ok", "bad", "last_ok", "trusted"),
    [
        (1, 0, True, True),
        (0, 1, False, False),
        (1, 1, True, True),
        (1, 1, False, False),
        (3, 1, False, False),
        (1, 2, True, False),
    ],
)
def test_a_tally_is_trusted_after_success_if_it_succeeds_as_often_as_not(
    ok: int, bad: int, last_ok: bool, trusted: bool
) -> None:
    assert works(Tally(None, "small", "big", ok, bad, last_ok, 0.0)) is trusted


@pytest.mark.parametrize("quality", [0.0, -1.0, 1.01, float("nan")])
def test_a_quality_outside_its_range_is_refused_whatever_the_policy(quality: float) -> None:
    with pytest.raises(ConfigurationError, match="quality"):
        as_policy("paper", quality=quality)


def test_an_unknown_policy_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="floor.*paper"):
        as_policy("best")
