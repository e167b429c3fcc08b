"""Hashes by which a router knows its own texts again."""

from __future__ import annotations

import numpy as np
import pytest

from rar.routers import KNNRouter, Outcomes
from rar.routers.fingerprint import KEPT, merged, share_seen, sketch

MANY = [f"text {n}" for n in range(5 * KEPT)]


def test_few_texts_are_known_exactly() -> None:
    known = sketch(MANY[:1_000])

    assert share_seen(known, MANY[:1_000]) == 1.0
    assert share_seen(known, MANY[1_000:2_000]) == 0.0
    assert share_seen(known, MANY[900:1_300]) == 0.25
    assert share_seen(known, ["  text 5\n"]) == 1.0, "space around a text does not make it another"


def test_of_many_texts_the_share_is_estimated_from_a_file_of_bounded_size() -> None:
    known = sketch(MANY)

    assert len(known) == KEPT
    assert share_seen(known, MANY) == 1.0
    assert share_seen(known, [*MANY[:4_000], *(f"new {n}" for n in range(4_000))]) == pytest.approx(0.5, abs=0.06)
    assert share_seen(known, [f"new {n}" for n in range(4_000)]) == 0.0


def test_sketches_add_up() -> None:
    np.testing.assert_array_equal(merged(sketch(MANY[:20_000]), sketch(MANY[10_000:])), sketch(MANY))


def test_a_repeated_text_counts_as_often_as_it_is_asked() -> None:
    assert share_seen(sketch(["a"]), ["a", "a", "a", "b"]) == 0.75


def test_an_update_is_known_too() -> None:
    data = Outcomes(tuple(MANY[:40]), np.array([[n % 2, 1.0] for n in range(40)]), ("small", "large"))
    router = KNNRouter(embedder="hashing").fit(data.take(range(20)))
    assert router.saw(MANY[:40]) == 0.5

    assert router.update(data.take(range(20, 40))).saw(MANY[:40]) == 1.0
