"""The pair ranker: antisymmetric, the same order in both modes, learned from pairs or recorded replies, on files."""

from __future__ import annotations

import random
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rar.errors import ConfigurationError, NotFittedError, RouterFileError, TrainingDataError, UnknownNameError
from rar.outcomes import Outcomes, Replies
from rar.strategies import Pair, PairRanker
from rar.values import Reply, question

KIND = ["Sure! Take {n} eggs, then stir.", "Of course: {n} eggs, and stir well."]
RUDE = ["No idea, ask somebody else.", "I'm sorry, I cannot help with {n} eggs."]


def pairs(count: int, seed: int = 0) -> list[Pair]:
    chance = random.Random(seed)
    return [
        Pair(f"Dish {n}?", chance.choice(KIND).format(n=n), chance.choice(RUDE).format(n=n), "cook", "clerk")
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def ranker() -> PairRanker:
    return PairRanker(authors=True).fit(pairs(60))


def test_it_tells_what_it_learned_to_tell_on_other_texts(ranker: PairRanker) -> None:
    right = [ranker.compare(pair.question, pair.better, pair.worse) > 0.0 for pair in pairs(40, seed=1)]

    assert sum(right) >= 38
    assert ranker.facts["pairs"] == 60
    assert ranker.facts["accuracy"] > 0.9 < ranker.facts["auc"]
    assert ranker.facts["better_model_accuracy"] == 1.0  # the cook always wins
    assert ranker.facts["longer_accuracy"] < 0.9


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_swapped_answers_have_the_other_sign_exactly(ranker: PairRanker, asked: str, one: str, other: str) -> None:
    assert ranker.compare(asked, one, other) == -ranker.compare(asked, other, one)


def test_who_wrote_an_answer_counts_only_where_that_was_learned(ranker: PairRanker) -> None:
    cook, clerk = Reply("cook", "Eggs."), Reply("clerk", "Eggs.")

    assert ranker.compare(question("Dish?"), cook, clerk) > 0.0
    assert PairRanker().fit(pairs(20)).compare("Dish?", cook, clerk) == 0.0


def odds(_: str, one: str, other: str) -> float:
    """Prefers longer answers, and what it reads first."""
    return float(len(one) - len(other)) + 0.5


TEXTS = ["aa", "aaaa", "a", "aaa", "aaaa"]


def test_a_function_compares_in_both_orders() -> None:
    assert PairRanker.of(odds).compare("?", "aaa", "a") == 2.0


def test_full_is_what_comparing_each_with_each_gives() -> None:
    chance = np.random.default_rng(0)
    table = {(one, other): float(chance.normal()) for one, other in permutations(TEXTS[:4], 2)}
    ranker = PairRanker.of(lambda _, one, other: table[one, other])
    wins = [
        sum((table[one, other] - table[other, one]) / 2 for other in TEXTS[:4] if other != one) for one in TEXTS[:4]
    ]

    assert ranker.rank("?", TEXTS[:4]) == sorted(range(4), key=lambda at: -wins[at])


def test_bubble_finds_the_best_with_one_comparison_less_than_there_are_answers() -> None:
    asked = []

    def counted(question: str, one: str, other: str) -> float:
        asked.append((one, other))
        return odds(question, one, other)

    assert PairRanker.of(counted).rank("?", TEXTS, mode="bubble") == [1, 0, 2, 3, 4]  # the first of two equals
    assert len(asked) == 2 * 4
    assert PairRanker.of(odds).rank("?", TEXTS) == [1, 4, 3, 0, 2]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([*KIND, *RUDE, "", "Eggs."]), max_size=5))
def test_both_modes_agree_on_the_best_of_a_fitted_ranker(ranker: PairRanker, texts: list[str]) -> None:
    assert ranker.rank("Dish?", texts, mode="bubble")[:1] == ranker.rank("Dish?", texts)[:1]
    assert sorted(ranker.rank("Dish?", texts)) == list(range(len(texts)))


def recorded(**columns: Any) -> Outcomes:
    n = 12
    texts = np.array([[KIND[0].format(n=row), RUDE[0], KIND[1].format(n=row)] for row in range(n)], object)
    scores = np.tile([0.9, 0.1, 0.9], (n, 1))
    scores[0, 1] = np.nan
    return Outcomes(
        tuple(f"Dish {row}?" for row in range(n)), scores, ("cook", "clerk", "chef"),
        **{"replies": Replies(texts), **columns},
    )  # fmt: skip


def test_recorded_replies_are_paired_where_their_scores_differ() -> None:
    ranker = PairRanker().fit(recorded())

    assert ranker.facts["pairs"] == 22  # eleven rows, two unlike pairs each
    assert ranker.compare("Dish 99?", KIND[0], RUDE[0]) > 0.0


def test_a_saved_ranker_compares_as_before(ranker: PairRanker, tmp_path: Path) -> None:
    loaded = PairRanker.load(ranker.save(tmp_path / "ranker"))

    one, other = Reply("cook", KIND[0]), Reply("clerk", RUDE[1])
    assert loaded.compare("Dish?", one, other) == pytest.approx(ranker.compare("Dish?", one, other), rel=1e-4)
    assert (loaded.facts, loaded.authors) == (ranker.facts, True)
    assert repr(loaded) == repr(ranker) == "<PairRanker(penalty=1, authors=True) of 60 pairs>"


def test_what_cannot_work_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        PairRanker().rank("?", ["a", "b"])
    with pytest.raises(NotFittedError):
        PairRanker().save(tmp_path)
    with pytest.raises(TrainingDataError, match="9 pairs"):
        PairRanker().fit(pairs(9))
    with pytest.raises(TrainingDataError, match="replies"):
        PairRanker().fit(recorded(replies=None))
    with pytest.raises(ConfigurationError, match="penalty=0"):
        PairRanker(penalty=0.0)
    with pytest.raises(ConfigurationError, match="function"):
        PairRanker.of("longest")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="'quick'"):
        PairRanker.of(odds).rank("?", ["a"], mode="quick")  # type: ignore[arg-type]
    with pytest.raises(RouterFileError):
        PairRanker.load(tmp_path)
