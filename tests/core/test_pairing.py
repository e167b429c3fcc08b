"""What trials say of a guide: on which requests it is looked at, and what it must have done there."""

from __future__ import annotations

import numpy as np
import pytest

from rar.memory.pairing import LATEST, Paired, Tried, paired
from rar.memory.transitions import next_state, tally_of
from rar.values import Guide, Vector
from tests.contract.memory import guide, trial


def unit(*numbers: float) -> Vector:
    vector = np.array(numbers, np.float32)
    return vector / np.linalg.norm(vector)


HOME, ABROAD = unit(1.0, 0.0, 0.0), unit(0.6, 0.8, 0.0)


def request(
    where: Vector, *, ok: bool, alone: bool | None = False, other: bool | None = None, at: float = 1.0
) -> Tried:
    """A request that the guide `g` was tried on, and perhaps the model alone and with another guide."""
    trials = [trial("a", ok=ok, guide_id="g", at=at)]
    trials += [trial("a", ok=alone, at=at)] if alone is not None else []
    trials += [trial("a", ok=other, guide_id="other", at=at)] if other is not None else []
    nudge = np.random.default_rng(int(at * 1000)).normal(scale=0.05, size=3).astype(np.float32)
    return unit(*(where + nudge)), [tally_of(one) for one in trials]


@pytest.fixture
def written() -> Guide:
    return guide("g", HOME, state="active")


def test_each_request_counts_by_what_the_model_alone_did(written: Guide) -> None:
    found = paired(written, [
        request(HOME, ok=True, at=1.0),
        request(HOME, ok=True, alone=True, at=2.0),
        request(HOME, ok=True, alone=None, at=3.0),
        request(HOME, ok=False, alone=True, at=4.0),
        request(HOME, ok=False, at=5.0),
        request(HOME, ok=False, alone=None, at=6.0),
    ])  # fmt: skip

    assert found == Paired(helped=2, gained=1, lost=1, missed=1, failed=1)


def test_what_another_guide_is_for_is_held_against_none(written: Guide) -> None:
    assert paired(written, [request(HOME, ok=False, other=True), request(HOME, ok=False, other=False)]).missed == 1


def test_failures_among_requests_of_another_kind_do_not_retire_a_guide(written: Guide) -> None:
    at_home = [request(HOME, ok=True, at=float(n)) for n in range(4)]
    abroad = [request(ABROAD, ok=False, alone=n % 2 == 0, at=10.0 + n) for n in range(30)]

    found = paired(written, [*at_home, *abroad])
    assert found.gained == 4
    assert found.lost + found.missed <= 2
    assert next_state("active", 4, 30, found) == "active"


def test_failures_where_it_works_too_do(written: Guide) -> None:
    mixed = [request(HOME, ok=n % 3 == 0, alone=n % 2 == 0, at=float(n)) for n in range(36)]

    assert next_state("active", 12, 24, paired(written, mixed)) == "retired"


def test_one_that_never_helps_is_given_up_wherever_it_was_tried(written: Guide) -> None:
    found = paired(written, [request((HOME, ABROAD)[n % 2], ok=False, at=float(n)) for n in range(6)])

    assert next_state("candidate", 0, 6, found) == "retired"


def test_the_latest_trials_count(written: Guide) -> None:
    late = [request(HOME, ok=False, alone=True, at=100.0 + n) for n in range(LATEST)]

    assert paired(written, [*late, *(request(HOME, ok=True, at=float(n)) for n in range(9))]).gained == 0
    assert paired(written, []) == Paired()
