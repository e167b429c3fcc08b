"""Policies: properties over all evidence, and the few rules that a table shows best."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar.errors import ConfigurationError, UnknownNameError
from rar.evidence import Evidence, Standing
from rar.learning.floor import HARDER, INERTIA, all_held, held, loss, slack
from rar.learning.policy import FloorPolicy, Judged, PaperPolicy, as_policy
from rar.learning.verdicts import due, verdict, works
from rar.memory.base import GUIDED, PolicyState, PolicyStep, state_of
from rar.memory.transitions import moved
from rar.values import STRONG, WEAK, Arm, Experience, Guide, GuideMatch, Match, Origin, Route, Tally

NOWHERE = np.zeros(0, np.float32)


def guide(id: str = "g", *, helpful: int = 2, harmful: int = 0) -> Guide:
    return Guide(id, "default", "answer", "1. Think.", NOWHERE, "big", "e", "active", helpful, harmful)


def tally(guide_id: str | None = None, *, ok: int = 1, bad: int = 0, weak: str = "small", at: float = 0.0) -> Tally:
    return Tally(guide_id, weak, "big", ok, bad, ok >= bad and ok > 0, at)


def match(*tallies: Tally, similarity: float = 0.9, same: bool = False, id: str = "e") -> Match:
    return Match(Experience(id, "default", "answer", "q", "s", NOWHERE, tallies), similarity, same)


def evidence(*matches: Match, guides: tuple[GuideMatch, ...] = (), **fields: object) -> Evidence:
    return evidence_of(Evidence("big", matches=matches, guides=guides, start=0.5), **fields)


def evidence_of(known: Evidence, **fields: Any) -> Evidence:
    """`known` with fields of its own, of the namespace's state, or of the model that stands beside the strong one."""
    of_request = ("draw", "now", "context", "user", "matches", "floor")
    own = {name: value for name, value in fields.items() if name in of_request}
    state = {name: value for name, value in fields.items() if name in ("threshold", "calls", "reference")}
    audited = {name: value for name, value in fields.items() if name in ("audits", "bias")}
    again = {"again": fields.pop("again")} if "again" in fields else {}
    standing = {name: value for name, value in fields.items() if name not in {*own, *state, *audited}}
    weak = known.cheapest or Standing(WEAK, "small")
    weak = replace(weak, **standing, **again, state=replace(weak.state, **audited))
    return replace(known, **own, state=replace(known.state, **state), standings=(weak,))


def alone(policy: FloorPolicy, known: Evidence) -> tuple[float, float]:
    return policy.expected.alone(known.standings[0], known)


def moves(policy: FloorPolicy, known: Evidence, route: Route, judged: Judged) -> tuple[PolicyStep, PolicyStep | None]:
    """The namespace's step, and the weak model's, if it was judged."""
    own, *others = policy.steps("default", known, route, judged)
    name = state_of("small", GUIDED) if (route.instead_of or route.arm).guide is not None else "small"
    assert own.model == "" and all(step.model == name for step in others)
    return own, others[0] if others else None


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


def tried(context: str, *, ok: int = 1, user: str = "") -> Tally:
    return replace(tally(ok=ok), origins=(Origin(context, user, ok, 0, True, 0.0),))


def test_a_verdict_of_a_users_context_serves_that_context_and_by_the_papers_rule_everybody() -> None:
    seen = match(tried("read:f:1"), same=True)

    assert FloorPolicy().choose(evidence(seen, context="read:f:1")).reason == "memory_weak"
    assert not FloorPolicy().choose(evidence(seen)).reason.startswith("memory")
    assert PaperPolicy().choose(evidence(seen)).reason == "memory_weak"
    assert not due(seen.experience, "small", "big", now=1.0, retry_after=9.0, context="read:f:1")
    assert due(seen.experience, "small", "big", now=1.0, retry_after=9.0)


@pytest.mark.parametrize(("trials", "chance"), [(1, 0.05), (2, 0.025), (9, 0.01)])
def test_a_young_verdict_is_audited_more(trials: int, chance: float) -> None:
    calm = PolicyState(audits=1_000, spread=0.0)

    route = FloorPolicy().choose(evidence(match(tally(ok=trials), same=True), again=calm))

    assert route.chance == pytest.approx(chance)


def test_verdicts_are_audited_the_more_the_less_is_known_of_repeats_and_the_more_they_are_off() -> None:
    chances = [
        FloorPolicy().choose(evidence(match(tally(ok=9), same=True), again=PolicyState(audits=n, spread=spread))).chance
        for n, spread in [(0, 0.2), (99, 0.2), (99, 0.04)]
    ]

    assert chances == [pytest.approx(0.14), pytest.approx(0.014), pytest.approx(0.01)]


def test_a_repeat_whose_model_does_not_always_agree_gets_the_strong_answer_and_another_trial() -> None:
    seen = match(tally(ok=1), same=True)
    sure = evidence_of(evidence(seen), learned=0.5)
    known = replace(sure, again=PolicyState(threshold=0.95))

    route = FloorPolicy().choose(known)

    assert FloorPolicy().choose(sure).model == WEAK
    assert (route.model, route.reason, route.instead_of, route.again) == (STRONG, "memory_unsure", Arm(WEAK), True)
    assert route.expected == pytest.approx(0.25 * alone(FloorPolicy(), known)[0] / 1.25)


def test_repeats_move_a_threshold_of_their_own() -> None:
    policy = FloorPolicy(quality=0.9)
    route = Route(WEAK, reason="memory_weak", expected=0.3, again=True)

    own, *_ = policy.steps("default", evidence(), route, Judged())
    new, *_ = policy.steps("default", evidence(), LIKELY, Judged())

    assert (own.model, new.model) == ("#again", "")
    assert own.delta > 0.0 and own.confidence is None


def test_a_floor_of_the_namespace_takes_the_place_of_the_policys() -> None:
    lax, strict = (FloorPolicy(quality=0.9)._allowed(evidence(floor=floor), PolicyState()) for floor in (None, 0.99))

    assert (lax, strict) == (pytest.approx(0.1), pytest.approx(0.01))


def test_a_promise_leaves_less_to_lose_the_less_audits_have_told_and_nothing_where_nothing_is_served() -> None:
    young, old, unused = (PolicyState(audits=n, share=share) for n, share in [(10, 0.5), (500, 0.5), (0, 0.0)])

    assert slack(young, 0.95) > slack(old, 0.95) > slack(unused, 0.95) == 0.0
    assert slack(old, 0.95) == pytest.approx(
        1.645 * math.sqrt(0.25 * 0.2 / (500.0 + INERTIA / 10.0) + 0.5 * 0.2 / 1_000.0), rel=1e-3
    )
    assert slack(old, None) == 0.0


@pytest.mark.parametrize(("trials", "chance"), [(1, 0.5), (2, 0.25), (50, 0.125)])
def test_a_borrowed_verdict_is_audited_most_and_by_serving_the_strong_answer(trials: int, chance: float) -> None:
    seen = match(tried("told::1", ok=trials), same=True)

    assert FloorPolicy().choose(evidence(seen, draw=0.9)).chance == pytest.approx(chance)
    assert FloorPolicy().choose(evidence(seen, draw=0.0)).model == STRONG
    assert FloorPolicy(audit_rate=0.0).choose(evidence(seen, draw=0.0)).model == WEAK


def test_one_users_neighbours_count_as_one_trial_for_others_and_in_full_for_that_user() -> None:
    near = [match(tried("", user="u"), similarity=0.9, id=f"e{n}") for n in range(16)]
    others = [match(tried("", user=f"u{n}"), similarity=0.9, id=f"e{n}") for n in range(16)]

    assert FloorPolicy().choose(evidence(*near, threshold=0.85)).model == STRONG
    assert FloorPolicy().choose(evidence(*near, threshold=0.85, user="u")).model == WEAK
    assert FloorPolicy().choose(evidence(*others, threshold=0.85)).model == WEAK


def test_neighbours_of_other_contexts_count_as_one_trial() -> None:
    near = [match(tried(f"read:f:{n}"), similarity=0.9, id=f"e{n}") for n in range(16)]

    assert FloorPolicy().choose(evidence(*near, threshold=0.85)).model == STRONG
    assert FloorPolicy().choose(evidence(*near, threshold=0.85, context="read:f:99")).model == WEAK


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
def test_more_success_nearby_never_raises_the_expected_gap(near: list[Match], prior: float) -> None:
    policy = FloorPolicy()
    before, _ = alone(policy, evidence(*near, prior=prior))

    assert alone(policy, evidence(*near, match(tally(ok=1), similarity=1.0, id="new"), prior=prior))[0] <= before + 1e-9


@given(matches, chances)
def test_more_failure_nearby_never_lowers_the_expected_gap(near: list[Match], prior: float) -> None:
    policy = FloorPolicy()
    before, _ = alone(policy, evidence(*near, prior=prior))

    assert alone(policy, evidence(*near, match(tally(ok=0, bad=1), similarity=1.0), prior=prior))[0] >= before - 1e-9


def test_more_trials_of_the_same_kind_make_for_more_confidence() -> None:
    policy = FloorPolicy()
    few = [match(tally(ok=1), id=str(n)) for n in range(2)]
    many = [match(tally(ok=1), id=str(n)) for n in range(20)]

    assert alone(policy, evidence(*many))[1] > alone(policy, evidence(*few))[1]


def test_the_learned_score_speaks_where_nothing_is_near() -> None:
    easy, hard = (FloorPolicy().choose(evidence(learned=gap, threshold=0.7)) for gap in (0.02, 0.5))

    assert (easy.model, hard.model) == (WEAK, STRONG)


LIKELY = Route(WEAK, reason="likely_weak", expected=0.1, guess=True)


def test_a_strong_answer_lowers_the_threshold_by_what_the_floor_allows() -> None:
    policy = FloorPolicy(quality=0.9, rate=0.02)

    step, _ = moves(policy, evidence(reference=0.8, calls=10**9), Route(STRONG), Judged(reference=1.0))

    assert step == PolicyStep(
        "default", pytest.approx(-0.02 * 0.1 * 0.8), start=policy.start, low=0.1, high=1.2, reference=1.0, loss=0.0
    )


@pytest.mark.parametrize(("bias", "loss"), [(0.0, 0.1), (0.2, 0.3), (0.02, 0.12), (-0.02, 0.08), (-0.5, -0.4)])
def test_a_weak_answer_costs_its_expected_gap_as_audits_corrected_it(bias: float, loss: float) -> None:
    policy = FloorPolicy(quality=0.9, rate=0.02)

    step, judged = moves(policy, evidence(bias=bias, calls=10**9), LIKELY, Judged())

    assert step.delta == pytest.approx(0.02 * (loss - 0.1), abs=1e-8)
    assert (step.audit, judged) == (False, None)


@pytest.mark.parametrize(("gap", "error"), [(1.0, True), (0.0, False), (-1.0, False)])
def test_an_audit_tells_by_how_much_the_expectation_was_wrong(gap: float, error: bool) -> None:
    own, step = moves(FloorPolicy(), evidence(), LIKELY, Judged(gap, reference=1.0))

    assert step is not None
    assert (step.audit, step.error) == (own.audit, own.error) == (True, error)
    assert step.residual == pytest.approx(gap - 0.1)


@pytest.mark.parametrize("quality", [0.8, 0.95])
@pytest.mark.parametrize("wrong_by", [0.0, 0.1])
def test_the_mean_loss_settles_at_what_the_floor_allows_though_expectations_are_wrong(
    quality: float, wrong_by: float
) -> None:
    """Gaps are Bernoulli of an expectation that is too low by `wrong_by`, which only audits can tell."""
    policy, chance = FloorPolicy(quality=quality), np.random.default_rng(0)
    state, of_weak, losses = PolicyState(), PolicyState(), []
    for _ in range(40_000):
        expected = chance.uniform(0.0, 0.6)
        threshold = policy.start if state.threshold is None else state.threshold
        seen = evidence(threshold=threshold, bias=of_weak.bias, audits=of_weak.audits, reference=state.reference)
        if 1.0 - expected < threshold:
            (step, found), loss = moves(policy, seen, Route(STRONG), Judged()), 0.0
        else:
            loss = float(chance.random() < expected + wrong_by)
            judged = Judged(loss, reference=1.0) if chance.random() < policy.audit_rate else Judged()
            step, found = moves(policy, seen, replace(LIKELY, expected=expected), judged)
        losses.append(loss)
        state, of_weak = moved(state, step), of_weak if found is None else moved(of_weak, found)

    assert np.mean(losses[25_000:]) == pytest.approx(1.0 - quality, abs=0.02)


@given(st.floats(0.0, 1.0, exclude_max=True), st.floats(0.0, 1.0))
def test_only_weak_answers_are_audited_and_only_by_chance(draw: float, rate: float) -> None:
    policy = FloorPolicy(audit_rate=rate)
    known = policy.choose(evidence(match(tally(), same=True), draw=draw, again=PolicyState(audits=10**6)))
    guessed = policy.choose(evidence(learned=0.0, threshold=0.5, draw=draw, audits=10**6))
    served_strong = policy.choose(evidence(draw=draw))

    assert guessed.audit is (draw < guessed.chance)
    assert guessed.chance == pytest.approx(max(rate, 0.7e-3) if rate else 0.0)
    assert known.audit is (draw < known.chance)
    assert known.chance <= guessed.chance
    assert served_strong.audit is False


def test_a_guess_is_audited_by_serving_the_strong_answer_and_a_known_one_afterwards() -> None:
    policy = FloorPolicy(audit_rate=1.0)
    guessed = policy.choose(evidence(learned=0.1, threshold=0.5, draw=0.0))
    known = policy.choose(evidence(match(tally(), same=True), draw=0.0))

    assert (guessed.model, guessed.reason, guessed.check, guessed.instead_of) == (STRONG, "audit", False, Arm(WEAK))
    assert (known.model, known.reason, known.check, known.instead_of) == (WEAK, "memory_weak", True, None)

    own, step = moves(policy, evidence(calls=10**9), guessed, Judged(1.0, reference=1.0))
    assert step is not None and guessed.expected is not None
    assert (step.audit, step.error) == (True, True)
    assert step.residual == pytest.approx(1.0 - guessed.expected)
    assert own.delta < 0.0  # the strong answer, which was served, lost nothing


def test_the_first_guesses_are_audited_more_often_than_later_ones() -> None:
    chances = [FloorPolicy().choose(evidence(learned=0.0, threshold=0.5, audits=n)).chance for n in (0, 10, 1_000)]

    assert chances == sorted(chances, reverse=True)
    assert chances[-1] == FloorPolicy().audit_rate


def test_a_near_guide_with_a_record_is_used_and_a_far_one_is_not() -> None:
    policy, proven = FloorPolicy(), guide(helpful=20)
    bad_alone = [match(tally(ok=0, bad=1), id=str(i)) for i in range(5)]

    near = policy.choose(evidence(*bad_alone, guides=(GuideMatch(proven, 0.85),), threshold=0.7))
    far = policy.choose(evidence(*bad_alone, guides=(GuideMatch(proven, 0.3),), threshold=0.7))

    assert (near.model, near.guide) == (WEAK, proven)
    assert far.model == STRONG


def test_a_guide_is_preferred_where_it_does_better_than_the_model_alone_and_only_where_it_was_tried() -> None:
    proven = guide(helpful=30)
    both = [match(tally(ok=1), tally("g", ok=1), id=str(n)) for n in range(8)]
    mixed = [match(tally(ok=n % 2, bad=1 - n % 2), tally("g", ok=1), id=str(n)) for n in range(8)]
    untried = [match(tally(ok=n % 2, bad=1 - n % 2), id=str(n)) for n in range(8)]
    here = (GuideMatch(proven, 0.4),)

    def chosen(*matches: Match) -> Guide | None:
        return FloorPolicy().choose(evidence(*matches, guides=here, threshold=0.3)).guide

    assert (chosen(*both), chosen(*mixed), chosen(*untried)) == (None, proven, None)


def test_the_request_that_a_guide_was_written_for_proves_nothing() -> None:
    policy, own = FloorPolicy(), match(tally("g", ok=5), id="o")
    written = replace(guide(), origin="o")

    assert policy.expected.trials(Standing(WEAK, "small"), written, evidence(own)) == (0.0, 0.0)


def test_what_is_nearest_tells_which_guide_is_for_a_request_unless_all_trials_came_to_the_same() -> None:
    standing, expected = Standing(WEAK, "small"), FloorPolicy().expected
    here = [match(tally("g", ok=0, bad=1), similarity=0.97, id=str(n)) for n in range(2)]
    other_kind = [match(tally("g", ok=1), similarity=0.8, id=f"o{n}") for n in range(6)]

    gaps, trials = expected.trials(standing, guide(), evidence(*here, *other_kind))
    assert gaps / trials > 0.9
    assert trials < 3.0
    assert expected.trials(standing, guide(), evidence(*other_kind)) == (0.0, pytest.approx(6 * 0.9))


def test_a_guess_with_a_guide_is_audited_by_serving_the_strong_answer_unless_the_guide_is_young() -> None:
    near = [match(tally(ok=0, bad=1), tally("g", ok=1), id=str(n)) for n in range(8)]

    def route(helpful: int) -> Route:
        known = evidence(*near, guides=(GuideMatch(guide(helpful=helpful), 0.85),), threshold=0.5, draw=0.0)
        return FloorPolicy().choose(known)

    assert (route(30).model, route(30).instead_of) == (STRONG, Arm(WEAK, guide(helpful=30)))
    assert (route(3).model, route(3).check, route(3).chance) == (WEAK, True, 1.0)


def test_audits_of_answers_with_guides_correct_those_alone() -> None:
    policy, rate = FloorPolicy(), 4 * FloorPolicy().rate
    helped = replace(Standing(WEAK, "small"), state=PolicyState(audits=90, bias=-0.13))
    known = evidence(guided=helped)
    guided = Route(WEAK, guide(), "likely_guided", expected=0.3, guess=True)

    own, of_guides = moves(policy, known, guided, Judged(1.0))
    alone, _ = moves(policy, known, replace(guided, guide=None), Judged(1.0))

    assert own.delta == pytest.approx(rate * (0.3 - 0.13 - 0.05))
    assert alone.delta == pytest.approx(rate * (0.3 - 0.05))
    assert of_guides is not None and of_guides.residual == pytest.approx(0.7)


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


def test_a_long_record_far_away_does_not_stand_for_a_short_one_nearby() -> None:
    policy = FloorPolicy()
    proven = guide(helpful=500)

    near = policy.expected.with_guide(Standing(WEAK, "small"), GuideMatch(proven, 0.9), evidence())[1]
    far = policy.expected.with_guide(Standing(WEAK, "small"), GuideMatch(proven, 0.5), evidence())[1]

    assert near > 0.85
    assert far < 0.6


class TestSilentChanges:
    """The weak model becomes another under the same name: only judged answers can tell."""

    def after_shadows(self, gaps: list[float]) -> tuple[PolicyState, int]:
        """The state after so many judged shadow attempts of which a gap of 0.2 is expected, or at the alarm."""
        policy, state = FloorPolicy(), PolicyState(calls=1_000)
        for at, gap in enumerate(gaps, 1):
            known = evidence(learned=0.2, calls=state.calls, now=float(at))
            _, step = moves(policy, known, Route(STRONG), Judged(alone={WEAK: gap}))
            assert step is not None
            state = moved(state, step)
            if state.since:
                return state, at
        return state, len(gaps)

    def test_surprises_that_even_out_ring_no_alarm(self) -> None:
        chance = np.random.default_rng(0)

        assert self.after_shadows(list((chance.random(5_000) < 0.2) * 1.0))[0].since == 0.0

    def test_a_worse_model_rings_the_alarm_soon_and_only_what_was_judged_since_then_counts(self) -> None:
        chance = np.random.default_rng(0)
        before, after = (chance.random(1_000) < 0.2) * 1.0, (chance.random(200) < 0.5) * 1.0

        state, rung = self.after_shadows([*before, *after])

        assert 1_000 < rung < 1_100
        assert 990.0 < state.since < rung
        assert (state.audits, state.bias, state.calls) == (0, 0.0, 0)

    def test_the_nearer_the_alarm_the_more_confidence_is_needed(self) -> None:
        known = evidence(learned=0.0, threshold=0.85)

        assert FloorPolicy().choose(known).model == WEAK
        assert FloorPolicy().choose(evidence_of(known, drift=0.9)).model == STRONG

    def test_what_was_learned_before_the_change_proves_nothing(self) -> None:
        seen = match(tally(ok=9, at=10.0), same=True)

        assert FloorPolicy().choose(evidence(seen, since=5.0)).model == WEAK
        assert FloorPolicy().choose(evidence(seen, since=20.0)).model == STRONG
        assert due(seen.experience, "small", "big", now=21.0, retry_after=1e9, since=20.0)

    def test_a_failed_audit_of_a_repeated_request_and_a_failed_shadow_are_surprises(self) -> None:
        policy, known = FloorPolicy(), partial(evidence, calls=1_000)
        verdict_on = Route(WEAK, reason="memory_weak", expected=0.0)
        _, audit = moves(policy, known(), verdict_on, Judged(1.0))
        _, held = moves(policy, known(), verdict_on, Judged(0.0))
        _, shadow = moves(policy, known(learned=0.2), Route(STRONG), Judged(alone={WEAK: 1.0}))
        _, guided = moves(policy, known(), replace(verdict_on, guide=guide()), Judged(1.0))
        _, young = moves(policy, evidence(learned=0.2, calls=20), Route(STRONG), Judged(alone={WEAK: 1.0}))

        assert audit is not None and audit.surprise == pytest.approx(0.25 / 0.2 * (1.0 - 0.125))
        assert held is not None and held.surprise == pytest.approx(0.25 / 0.2 * -0.125)
        assert shadow is not None and shadow.surprise == pytest.approx(0.15 / 0.25 * (0.8 - 0.075))
        assert guided is not None and guided.surprise is None
        assert young is not None and young.surprise is None  # what was expected was a guess


def test_the_quality_that_audits_tell_has_an_interval_that_narrows_with_them() -> None:
    few, many = (held(PolicyState(audits=n, calls=500, lost=0.04, share=0.5, reference=0.8)) for n in (20, 600))

    assert few is not None and many is not None
    assert few.quality == many.quality == pytest.approx(0.95)
    assert few.low < many.low < 0.95 < many.high < few.high
    assert held(PolicyState(calls=500)) is None


def test_new_requests_and_repeats_are_held_apart() -> None:
    states = {"": PolicyState(audits=9, calls=9), "#again": PolicyState()}

    assert set(all_held(states.__getitem__)) == {"new"}


def test_shadows_that_turn_out_harder_than_they_used_to_make_served_answers_dearer() -> None:
    usual, harder = (Standing(WEAK, "small", state=PolicyState(late=late, usual=0.1)) for late in (0.12, 0.3))

    assert loss(usual, LIKELY) == pytest.approx(0.1)
    assert loss(harder, LIKELY) == pytest.approx(0.1 + 0.2 - HARDER)


def test_a_score_that_is_unsure_makes_for_less_confidence_and_the_same_expectation() -> None:
    sure, unsure = (alone(FloorPolicy(), evidence(learned=0.1, unsure=by)) for by in (0.0, 0.2))

    assert sure[0] == unsure[0]
    assert sure[1] - unsure[1] > 0.05
