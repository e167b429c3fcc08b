"""The rules by which a memory's records change, apart from any backend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rar.memory import transitions
from rar.memory.base import PolicyState, PolicyStep, Spend
from rar.memory.pairing import Paired
from rar.memory.transitions import (
    DAY,
    MONTH,
    MOST,
    added,
    decided,
    double_of,
    kept_until,
    merged,
    moved,
    rekeyed,
    replaced,
    replaced_guide,
    summed,
    surplus,
    tally_of,
    tried,
    used_until,
    went_by,
)
from rar.values import Origin
from tests.contract.memory import EAST, NORTH, decision, experience, guide, spend, trial


def test_tallies_add_up_and_the_last_to_arrive_is_the_last() -> None:
    first, late = tally_of(trial("a", at=9.0)), tally_of(replace(trial("a", ok=False, at=1.0), gap=0.5, weight=4.0))

    assert merged(None, first) == first
    both = merged(first, late)
    assert (both.ok, both.bad, both.last_ok, both.at) == (1, 1, False, 1.0)
    assert (both.gap, both.weight) == (0.5, 4.0)
    assert merged(both, first).gap == 0.5
    assert merged(first, first).gap is None


def test_a_trial_by_a_user_is_kept_with_its_origin_and_a_plain_one_without() -> None:
    assert tally_of(trial("a")).origins == ()
    assert tally_of(replace(trial("a"), user="u")).origins == (Origin("", "u", 1, 0, True, 1.0),)


def test_what_is_written_again_keeps_its_place_and_its_counts() -> None:
    known = experience("a", EAST, created_at=1.0, tallies=(tally_of(trial("a")),))
    again = replaced(known, experience("a", NORTH, namespace="other", text="new", created_at=2.0, updated_at=3.0))
    assert (again.namespace, again.created_at, again.tallies) == ("default", 1.0, known.tallies)
    assert (again.text, again.updated_at) == ("new", 3.0)
    assert again.embedding is NORTH

    approved = decided(guide("g", helpful=3), "active", anyway=False)
    again_guide = replaced_guide(approved, guide("g", NORTH, text="new", state="quarantined"))
    assert (again_guide.text, again_guide.helpful, again_guide.state) == ("new", 3, "active")
    assert replaced_guide(guide("g"), guide("g", state="retired")).state == "retired"


def test_trials_up_to_two_have_an_experience_kept_longer() -> None:
    by_trials = [kept_until(0.0, 5.0, trials) - 5.0 for trials in (0, 1, 2, 9)]
    assert by_trials == [0.0, MONTH, 2 * MONTH, 2 * MONTH]
    assert kept_until(9 * MONTH, 5.0, 1) == 9 * MONTH


def test_a_use_counts_once_a_day() -> None:
    until = used_until(0.0, 5.0)
    assert until == 5.0 + 2 * MONTH
    assert used_until(until, 5.0 + DAY) == until
    assert used_until(until, 6.0 + DAY) > until
    assert went_by(decision("d", facts={"neighbours": [{"experience_id": "a"}]}))
    assert not went_by(decision("d", facts={"neighbours": [{"experience_id": "b"}]}))


@pytest.mark.parametrize(
    ("count", "cap", "gone"), [(5, 5, 0), (6, 5, 1), (1_001, 1_000, 11), (1_000_001, 1_000_000, 257)]
)
def test_over_the_cap_some_more_than_needed_go(count: int, cap: int, gone: int) -> None:
    assert surplus(count, cap) == gone


def test_what_a_person_decided_is_moved_by_no_trial() -> None:
    pinned = decided(guide("g"), "active", anyway=True)
    for _ in range(5):
        pinned = tried(pinned, ok=False, own=False, paired=Paired(missed=9))

    assert (pinned.state, pinned.harmful, pinned.pinned, pinned.anyway) == ("active", 5, True, True)


def test_spending_is_cut_before_it_overflows_and_summed_over_days() -> None:
    huge = replace(spend(1.0), input_tokens=MOST)
    assert added(huge, huge) == replace(huge, calls=2, output_tokens=10, usd=2.0)
    assert summed([spend(1.0), spend(2.0), spend(4.0, model_id="other")]) == [
        spend(4.0, model_id="other"),
        Spend("default", "serve", "strong", "strong-1", 2, 20, 10, 3.0),
    ]


def test_an_experience_of_another_memory_has_the_id_of_its_text_here() -> None:
    old = experience("a", text="What is 2+2?")
    here = rekeyed(old, b"key")

    assert here.id == transitions.experience_id(b"key", "default", "answer", "What is 2+2?") != old.id
    assert here.signature != old.signature
    assert rekeyed(experience("a", text=None), b"key").id == "a"


# ── the floor ──


def test_a_threshold_winds_down_no_further_than_a_low_quantile_of_the_confidences() -> None:
    state = PolicyState()
    for n in range(2_000):
        state = moved(state, PolicyStep("default", -0.01, low=0.1, confidence=0.6 + 0.2 * (n % 10) / 9.0))

    assert state.low == pytest.approx(0.62, abs=0.05)
    assert state.threshold == pytest.approx(state.low)


def test_harder_requests_show_in_shadows_before_the_long_mean_follows() -> None:
    state = PolicyState()
    for residual in [0.0] * 600 + [0.3] * 60:
        state = moved(state, PolicyStep("default", 0.0, shadow=residual, model="small"))

    assert state.late > 0.15 > 2.0 * state.usual


def test_losses_shares_and_spreads_are_means_of_late() -> None:
    state = PolicyState()
    for n in range(4_000):
        state = moved(state, PolicyStep("default", 0.0, loss=0.1 * (n % 2), cheaper=n % 4 == 0, residual=0.5))

    assert (state.lost, state.share, state.spread) == (
        pytest.approx(0.05, abs=0.01), pytest.approx(0.25, abs=0.02), pytest.approx(0.25, abs=0.02)
    )  # fmt: skip


STEPS = """\
Use when: a share of a number is asked for.
1. Divide the share by 100.
2. Multiply the number by it.
Avoid: haste."""


@pytest.mark.parametrize(
    ("changed", "doubles"),
    [
        ({}, True),
        ({"text": STEPS.replace("haste", "Haste")}, True),
        ({"text": STEPS.replace("Divide", "Please divide")}, True),
        ({"text": STEPS.replace("100", "1000")}, False),
        ({"text": STEPS.replace("Multiply the number by it", "Add what is left over to it")}, False),
        ({"embedding": NORTH}, False),
        ({"task": "other"}, False),
        ({"namespace": "other"}, False),
        ({"created_at": 9.0}, False),
    ],
)
def test_a_guide_doubles_an_older_one_of_its_kind_that_says_the_same(changed: dict[str, Any], doubles: bool) -> None:
    new = guide("new", text=STEPS, created_at=5.0)
    old = replace(guide("old", text=STEPS, created_at=1.0), **changed)

    assert double_of(new, [new, old]) == (old if doubles else None)


def test_the_oldest_of_several_is_doubled() -> None:
    new, first, second = (guide(str(at), text=STEPS, created_at=at) for at in (5.0, 1.0, 2.0))

    assert double_of(new, [second, first]) == first
