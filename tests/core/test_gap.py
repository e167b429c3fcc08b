"""The learned score: what it learns from, that it is exact where that can be checked, and when it is fitted anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rar.evidence import USUAL_SCATTER
from rar.learning.gap import fit, scatter, unlike
from rar.learning.scores import LEAST, Kind, LearnedScores
from rar.linear import BUCKETS, Design, ridge, terms
from rar.memory import Batch, SQLiteMemory
from rar.values import Experience, Trial, Vector

DIM = 4
KIND = Kind("default", "answer", "small", "big")
NOWHERE = np.array([1.0, 0.0, 0.0, 0.0], np.float32)


def world(n: int, seed: int = 0) -> tuple[list[str], Vector, np.ndarray]:
    """Questions on tax are too hard for the weak model, questions on tea are not."""
    chance = np.random.default_rng(seed)
    hard = chance.random(n) < 0.5
    texts = [f"A question about {'tax law' if h else 'green tea'}, number {k}" for k, h in enumerate(hard)]
    return texts, np.tile(NOWHERE, (n, 1)), hard.astype(np.float64)


def test_words_that_go_with_a_gap_are_learned() -> None:
    texts, vectors, gaps = world(200)
    model = fit(texts, vectors, gaps, np.ones(200))

    assert model.expect("Something else about tax law", NOWHERE).gap > 0.6
    assert model.expect("Something else about green tea", NOWHERE).gap < 0.4
    assert model.examples == 200


def test_it_solves_ridge_regression() -> None:
    texts, _, gaps = world(30)
    weights = np.linspace(0.5, 3.0, 30)
    dense = np.random.default_rng(1).standard_normal((30, 6))
    design = Design.of(texts, dense)
    solved = ridge(design, gaps, weights, 2.0)
    # The same problem, dense: min sum w (x b - y)^2 + 2 |b|^2.
    counts = np.zeros((30, BUCKETS))
    for row, text in enumerate(texts):
        places, values = terms(text)
        counts[row, places] = values
    idf = np.log(31.0 / (1.0 + (counts > 0).sum(0))) + 1.0
    words = counts * idf
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    x = np.hstack([words[:, np.flatnonzero(counts.any(0))], dense])
    solution = np.linalg.solve(x.T @ (weights[:, None] * x) + 2.0 * np.eye(x.shape[1]), x.T @ (weights * gaps))

    assert design.times(solved) == pytest.approx(x @ solution, abs=5e-3)
    assert design.parts(solved, (0, 4)).sum(1) == pytest.approx(design.times(solved))


def test_chance_is_not_believed() -> None:
    chance = np.random.default_rng(0)
    texts = [" ".join(chance.choice(list("abcdefghijklmnopqrstuvwxyz"), 12)) for _ in range(900)]
    vectors = chance.standard_normal((900, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gaps = (chance.random(900) < 0.3).astype(np.float64)  # of which nothing tells anything
    model = fit(texts[:600], vectors[:600], gaps[:600], np.ones(600))
    expected = np.array([model.expect(*one).gap for one in zip(texts[600:], vectors[600:], strict=True)])

    best = np.argsort(expected)[:60]

    assert expected[best].mean() > gaps[:600].mean() - 0.06


def test_what_is_expected_of_the_likeliest_is_what_they_lose() -> None:
    texts, vectors, hard = world(2_000)
    chance = np.random.default_rng(2)
    gaps = (chance.random(2_000) < np.where(hard, 0.6, 0.1)).astype(np.float64)
    model = fit(texts[:1_000], vectors[:1_000], gaps[:1_000], np.ones(1_000))
    expected = np.array([model.expect(text, NOWHERE).gap for text in texts[1_000:]])

    likely = np.argsort(expected)[:300]

    assert expected[likely].mean() == pytest.approx(gaps[1_000:][likely].mean(), abs=0.05)


def test_the_less_a_request_is_like_those_known_the_less_sure_is_what_is_expected() -> None:
    chance = np.random.default_rng(0)
    known = np.eye(DIM)[chance.integers(0, 2, 200)] + 0.1 * chance.standard_normal((200, DIM))
    known = (known / np.linalg.norm(known, axis=1, keepdims=True)).astype(np.float32)
    model = fit([None] * 200, known, (chance.random(200) < 0.5).astype(np.float64), np.ones(200))

    near, far = model.expect(None, known[0]).unsure, model.expect(None, np.eye(DIM, dtype=np.float32)[3]).unsure

    assert 0.0 < near < far < 0.25


def test_embeddings_speak_where_no_text_is_kept() -> None:
    chance = np.random.default_rng(0)
    hard = chance.random(400) < 0.5
    vectors = np.where(hard[:, None], np.eye(DIM)[0], np.eye(DIM)[1]).astype(np.float32)
    model = fit([None] * 400, vectors, hard.astype(np.float64), np.ones(400))

    assert model.expect(None, vectors[hard][0]).gap > model.expect(None, vectors[~hard][0]).gap


@pytest.mark.parametrize("honest", [True, False])
def test_a_given_score_is_trusted_as_far_as_it_proved_right(honest: bool) -> None:
    chance = np.random.default_rng(1)
    gaps = (chance.random(500) < 0.5).astype(np.float64)
    scores = gaps if honest else chance.random(500)
    texts = ["the same words every time"] * 500
    model = fit(texts, np.tile(NOWHERE, (500, 1)), gaps, np.ones(500), scores)

    spread = model.expect(texts[0], NOWHERE, 1.0).gap - model.expect(texts[0], NOWHERE, 0.0).gap

    assert spread > 0.8 if honest else abs(spread) < 0.2


@pytest.mark.parametrize("text", ["", "\ud800", "?!", "x" * 1_000_000, "\n" * 100_000, " " * 100_000])
def test_strange_texts_have_an_expectation(text: str) -> None:
    texts, vectors, gaps = world(50)

    assert np.isfinite(
        fit([*texts, text], np.vstack([vectors, NOWHERE]), np.append(gaps, 1.0), np.ones(51)).expect(text, NOWHERE).gap
    )


def test_what_texts_are_like_speaks_of_topics_that_were_never_seen() -> None:
    chance = np.random.default_rng(0)

    def asked(topic: str, hard: bool) -> str:
        numbers = f"{chance.integers(100, 999)} + {chance.integers(100, 999)} * {chance.integers(10, 99)} ="
        return f"{topic} {chance.choice(['please', 'now', 'here'])} {numbers if hard else 'and so on for ever'}"

    hard = chance.random(300) < 0.5
    texts = [asked("apples", bool(one)) for one in hard]
    model = fit(texts, np.tile(NOWHERE, (300, 1)), hard.astype(np.float64), np.ones(300))

    sums, others = (np.mean([model.expect(asked("zebras", h), NOWHERE).gap for _ in range(20)]) for h in (True, False))

    assert sums - others > 0.4


class TestLearnedScores:
    @pytest.fixture
    def memory(self, tmp_path: Path) -> Iterator[SQLiteMemory]:
        with SQLiteMemory(tmp_path / "rar.db") as memory:
            memory.bind("test", DIM)
            yield memory

    def teach(self, memory: SQLiteMemory, first: int, last: int, *, weak_id: str = "small") -> None:
        texts, vectors, gaps = world(last)
        known = [
            Experience(str(n), "default", "answer", texts[n], f"s{n}", vectors[n], created_at=1.0, updated_at=1.0)
            for n in range(first, last)
        ]
        trials = [Trial(str(n), None, weak_id, "big", gaps[n] == 0.0, 1.0) for n in range(first, last)]
        memory.write(Batch(experiences=tuple(known), trials=tuple(trials)))

    def expect(self, scores: LearnedScores, kind: Kind = KIND) -> float | None:
        return scores.expect(kind, "Something about tax law", NOWHERE, None)

    def test_too_little_teaches_nothing(self, memory: SQLiteMemory) -> None:
        self.teach(memory, 0, LEAST - 1)
        scores = LearnedScores(memory, None)
        assert not scores.known(KIND)

        scores.refresh(KIND)

        assert scores.known(KIND)
        assert self.expect(scores) is None

    def test_what_an_earlier_process_learned_is_used(self, memory: SQLiteMemory) -> None:
        self.teach(memory, 0, 200)
        scores = LearnedScores(memory, None)

        scores.refresh(KIND)

        expected = self.expect(scores)
        assert expected is not None
        assert expected.gap > 0.6

    def test_a_score_is_fitted_anew_when_enough_is_new(self, memory: SQLiteMemory) -> None:
        self.teach(memory, 0, 100)
        scores = LearnedScores(memory, None)
        scores.refresh(KIND)
        before = self.expect(scores)
        self.teach(memory, 100, 200)

        scores.learned(KIND)
        scores.refresh(KIND)
        assert self.expect(scores) == before  # one new request is not enough
        for _ in range(99):
            scores.learned(KIND)
        scores.refresh(KIND)

        assert self.expect(scores) != before

    def test_another_pair_of_models_starts_from_nothing(self, memory: SQLiteMemory) -> None:
        self.teach(memory, 0, 100, weak_id="older")
        scores = LearnedScores(memory, None)

        scores.refresh(KIND)

        assert self.expect(scores) is None


def test_copies_of_a_request_count_as_one_and_unlike_ones_as_many() -> None:
    same, apart, nowhere = np.ones((40, 4)) / 2.0, np.eye(40), np.zeros((40, 4))

    assert unlike(same.astype(np.float32), np.ones(40)) == pytest.approx(1.0)
    assert unlike(apart.astype(np.float32), np.ones(40)) == pytest.approx(40.0)
    assert unlike(nowhere.astype(np.float32), np.ones(40)) == 1.0


def test_few_gaps_that_are_alike_and_gaps_of_copies_prove_no_calm() -> None:
    none, some = np.zeros(40), np.tile([0.0, 1.0], 20)
    usual = scatter(none, np.ones(40), 0.0)

    assert usual == pytest.approx(USUAL_SCATTER)
    assert usual > scatter(none, np.ones(40), 1.0) > scatter(none, np.ones(40), 40.0) > 0.0
    assert scatter(some, np.ones(40), 40.0) == pytest.approx(0.25, abs=0.01)
