"""How far a fit is believed: by what came of rows that it was not fitted to."""

from __future__ import annotations

import numpy as np
import pytest

from rar.learning.company import Company
from rar.learning.crossfit import BINS, LEAST, Curve, belief, calibration, left_out
from rar.linear import Design, ridge


def test_a_part_that_says_too_much_is_believed_less_and_one_that_misleads_not_at_all() -> None:
    chance = np.random.default_rng(0)
    parts = chance.standard_normal((5_000, 3))
    came = parts @ np.array([0.5, 1.0, -0.5]) + chance.standard_normal(5_000)

    factors = belief(parts, came, np.ones(5_000))

    assert factors == pytest.approx([0.5, 1.0, 0.0], abs=0.1)


def test_few_rows_change_little() -> None:
    parts, came = np.random.default_rng(0).standard_normal((20, 2)), np.zeros(20)

    assert belief(parts, came, np.ones(20)) == pytest.approx([1.0, 1.0], abs=0.2)


def test_a_curve_never_falls_and_follows_what_came() -> None:
    expected = np.linspace(0.0, 1.0, 4_000)
    flat_at_first = np.maximum(expected, 0.5)
    curve = Curve.of(expected, flat_at_first, np.ones(4_000))
    found = [curve(gap) for gap in np.linspace(-0.5, 1.5, 100)]

    assert len(curve.expected) == BINS
    assert (np.diff(found) >= -1e-9).all()
    assert curve(0.1) == pytest.approx(0.5, abs=0.08)  # a part of the way
    assert curve(0.9) == pytest.approx(0.9, abs=0.05)


def test_no_row_is_asked_about_itself() -> None:
    chance = np.random.default_rng(0)
    noise = chance.standard_normal(300)
    dense = np.eye(300)[:, :200] * 5.0  # one column for each row: a fit knows its own rows by heart
    design = Design.of([None] * 300, dense)

    rows, parts = left_out(design, noise, np.ones(300), 1.0, (0,))

    assert sorted(rows) == list(range(300))
    assert np.abs(parts).max() == pytest.approx(0.0, abs=1e-9)
    assert calibration(
        design, noise, np.ones(300), np.ones(300), 1.0, (0,), ridge(design, noise, np.ones(300), 1.0)
    ).level == (pytest.approx(noise.mean()))


def test_too_few_rows_are_taken_as_they_are() -> None:
    design, target = Design.of([None] * (LEAST - 1), np.ones((LEAST - 1, 1))), np.ones(LEAST - 1)
    found = calibration(design, target, target, target, 1.0, (0,), np.zeros(design.columns))

    assert (found.factors == 1.0).all()
    assert found.curve(0.3) == pytest.approx(0.3)
    assert found.level == 1.0


def test_one_alone_has_no_company() -> None:
    alone = Company.of(np.eye(1, 4, dtype=np.float32))
    many = Company.of(np.tile(np.eye(1, 4, dtype=np.float32), (50, 1)))

    assert alone.strangeness(np.eye(4, dtype=np.float32)[1]) > many.strangeness(np.eye(4, dtype=np.float32)[0])
