"""Questions that the embedder does not read to their end: they are read in pieces, or nothing is used for another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rar import Router
from rar.embedding import CachedEmbedder, HashingEmbedder, MiniLMEmbedder, as_embedder
from rar.embedding.unread import MOST_PIECES, apart, in_pieces, reads
from rar.memory import Batch, SQLiteMemory
from rar.memory.identity import experience_id, keyed_digest
from rar.sameness import signature
from rar.values import Experience, Message, Reply, Request, Trial, Vector, question

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
        weak, lambda _: "strong", embedder=Short(), judge="exact", learning="inline", guides=False,
        learning_budget=None, weak_id="w", strong_id="s", seed=1, **{"memory": ":memory:", **options},
    )  # type: ignore[arg-type]  # fmt: skip


def served(routed: Router, request: Request) -> tuple[str, str]:
    decision = routed.decide(request)
    routed.learn(decision, Reply(decision.model, "strong"))
    return decision.model, decision.choice.reason


EXAMPLES = "Question: What is two and two? Answer: four. " * 6  # as before a question in a few-shot prompt


def test_questions_behind_the_same_examples_are_told_apart() -> None:
    embedder = Short()
    tea, tax = (f"{EXAMPLES} Question: How is {one}?" for one in ("green tea made", "income tax paid"))
    again = f"{EXAMPLES} Question: How is green tea made now?"
    assert np.allclose(*embedder.embed([tea, tax]))  # what the embedder alone makes of them

    of_tea, of_tax, of_again = (in_pieces(embedder, text) for text in (tea, tax, again))

    assert of_tea is not None
    assert of_tax is not None
    assert of_again is not None
    assert np.linalg.norm(of_tea) == pytest.approx(1.0)
    assert of_tea @ of_tax < of_tea @ of_again < 1.0


def test_the_middle_of_a_text_is_read_and_one_of_too_many_pieces_is_not() -> None:
    embedder = Short()
    start, end = "about the lamp " * 10, "with a green shade " * 10

    one, other = (in_pieces(embedder, f"{start} {word} {end}") for word in ("tax", "tea"))

    assert one is not None
    assert other is not None
    assert not np.allclose(one, other)
    assert in_pieces(embedder, "x" * 100 * (MOST_PIECES + 1)) is None
    assert in_pieces(embedder, "a short one") == pytest.approx(embedder.embed(["a short one"])[0])


def test_what_is_learned_of_long_questions_is_used_for_others() -> None:
    with router() as routed:
        for number in range(60):
            kind = "easy word" if number % 2 else "theorem, prove"
            served(routed, question(f"{EXAMPLES} Question: is {number} an {kind} or what is it?"))

        easy, hard = (
            routed.decide(question(f"{EXAMPLES} Question: is 500 an {kind} or what is it?"))
            for kind in ("easy word", "theorem, prove")
        )

    assert easy.request.evidence is not None
    assert hard.request.evidence is not None
    assert easy.request.task == "long"
    assert easy.request.evidence.matches[0].similarity <= 0.85  # none decides for another by itself
    gaps = [one.request.evidence.standings[0].learned for one in (easy, hard)]  # type: ignore[union-attr]
    assert gaps[0] is not None
    assert gaps[1] is not None
    assert gaps[0] + 0.3 < gaps[1]


def test_what_an_older_file_holds_of_long_questions_is_found_again_and_like_no_other(tmp_path: Path) -> None:
    """Files from before hold random vectors of them, in the same task."""
    long = f"{EXAMPLES} Question: is this an easy one?"
    embedder, vectors = Short(), apart(signature(long), 512)
    with SQLiteMemory(tmp_path / "rar.db") as memory:
        memory.bind(embedder.id, embedder.dim)
        own = experience_id(memory.secret, "default", "long", long)
        known = Experience(
            own,
            "default",
            "long",
            long,
            keyed_digest(memory.secret, signature(long)),
            vectors,
            created_at=1.0,
            updated_at=1.0,
        )
        trial = Trial(own, None, "w", "s", True, 1.0)
        memory.write(Batch(experiences=(known,), trials=(trial,)))

    with router(memory=tmp_path / "rar.db") as routed:
        again, other = (routed.decide(question(text)) for text in (long, f"{EXAMPLES} Question: is that a hard one?"))

    assert again.choice.reason == "memory_weak" or again.choice.reason == "audit"
    assert other.request.evidence is not None
    assert all(match.similarity < 0.35 for match in other.request.evidence.matches)


def test_texts_that_are_cut_to_the_same_beginning_are_not_alike() -> None:
    with router() as routed:
        for number in range(30):
            served(routed, question(f"{HEAD} Question {number}: an easy one"))

        decision = routed.decide(question(f"{HEAD} Prove the theorem."))

        assert decision.model == "strong"
        assert decision.request.evidence is not None
        assert all(match.similarity < 0.35 for match in decision.request.evidence.matches)
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
