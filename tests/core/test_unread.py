"""Questions that the embedder does not read to their end: nothing that is known of one is used for another."""

from __future__ import annotations

import numpy as np
import pytest

from rar import Router
from rar.embedding import CachedEmbedder, HashingEmbedder, MiniLMEmbedder, as_embedder
from rar.embedding.unread import apart, reads
from rar.values import Message, Reply, Request, Vector, question

HEAD = "The catalogue describes lamps with housing, cable, switch and warranty. " * 40


class Short(HashingEmbedder):
    """Reads 100 characters."""

    def reads(self, text: str) -> bool:
        return len(text) <= 100

    def embed(self, texts: list[str]) -> Vector:  # type: ignore[override]
        return super().embed([text[:100] for text in texts])


def router(**options: object) -> Router:
    def weak(messages: list[Message]) -> str:
        return "strong" if "easy" in messages[-1].text else "weak"

    return Router(
        weak, lambda _: "strong", memory=":memory:", embedder=Short(), judge="exact", learning="inline", guides=False,
        learning_budget=None, weak_id="w", strong_id="s", seed=1, **options,
    )  # type: ignore[arg-type]  # fmt: skip


def served(routed: Router, request: Request) -> tuple[str, str]:
    decision = routed.decide(request)
    routed.learn(decision, Reply(decision.model, "strong"))
    return decision.model, decision.choice.reason


def test_texts_that_are_cut_to_the_same_beginning_are_not_alike() -> None:
    with router() as routed:
        for number in range(30):
            served(routed, question(f"{HEAD} Question {number}: an easy one"))

        decision = routed.decide(question(f"{HEAD} Prove the theorem."))

        assert decision.model == "strong"
        assert decision.request.evidence is not None
        assert decision.request.evidence.matches == ()
        assert decision.request.evidence.standings[0].learned is None


def test_one_of_them_is_known_again_whatever_its_spacing() -> None:
    with router(policy="paper") as routed:
        served(routed, question(f"{HEAD} An easy one"))

        assert served(routed, question(f"{HEAD} An easy one"))[0] == "weak"
        assert served(routed, question(f"{HEAD}   An  easy one "))[0] == "weak"
        assert served(routed, question(f"{HEAD} An easy two"))[0] == "strong"


def test_a_short_question_is_not_like_a_long_one_that_begins_with_it() -> None:
    with router(policy="paper") as routed:
        served(routed, question(f"{HEAD[:100]} An easy one"))

        assert served(routed, question(HEAD[:100]))[0] == "strong"


def test_it_is_said_once_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    with router() as routed:
        for _ in range(3):
            routed.decide(question(HEAD))
            routed.decide(Request((Message("user", HEAD),), key_source="hidden"))

    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert all("rar_query=" in message and "tag_query" in message and "query_extractor=" in message for message in said)


def test_vectors_of_such_texts_are_far_apart() -> None:
    vectors = np.array([apart(f"text {number}", 384) for number in range(50)])
    cosines = vectors @ vectors.T

    assert np.allclose(np.diag(cosines), 1.0, atol=1e-5)
    assert np.abs(cosines - np.diag(np.diag(cosines))).max() < 0.4
    assert np.array_equal(apart("text 1", 384), vectors[1])


def test_embedders_say_what_they_read() -> None:
    class Mine:
        id, dim = "mine", 2

        def embed(self, texts: list[str]) -> Vector:
            return np.ones((len(texts), 2), np.float32)

    assert reads(HashingEmbedder(), "word " * 1_000)
    assert not reads(HashingEmbedder(), "word " * 10_000)
    assert not CachedEmbedder(HashingEmbedder()).reads("word " * 10_000)
    assert reads(Mine(), "word " * 10_000)


def test_minilm_counts_its_tokens() -> None:
    minilm = MiniLMEmbedder(max_tokens=16)

    assert minilm.reads("word " * 13)
    assert not minilm.reads("word " * 14)
    assert not minilm.reads("x" * 2_000)
    head = "word " * 30
    assert np.array_equal(minilm.embed([f"{head} one"]), minilm.embed([f"{head} two"]))


class Foreign:
    """As frameworks' embedders look."""

    model = "foreign"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0, 2.0] for _ in texts]

    embed_query = embed_documents


class OpenAIForeign(Foreign):
    embedding_ctx_length = 8_191


@pytest.mark.parametrize(
    ("embedder", "text", "whole"),
    [
        (Foreign(), "word " * 100, True),
        (Foreign(), "word " * 1_000, False),
        (Foreign(), "词" * 600, False),
        (OpenAIForeign(), "word " * 1_000, True),
        (OpenAIForeign(), "词" * 9_000, False),
    ],
)
def test_of_frameworks_embedders_it_is_taken_as_far_as_they_say(embedder: object, text: str, whole: bool) -> None:
    assert reads(as_embedder(embedder), text) is whole
