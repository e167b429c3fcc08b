import re
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.embeddings import MockEmbedding

from rar.embedding import HashingEmbedder, MiniLMEmbedder, as_embedder
from rar.errors import ConfigurationError, EmbeddingError, UnknownNameError


class Scripted(Embeddings):
    """Returns what it was given, once per call, and counts the calls."""

    model = "scripted-1"
    api_key = "sk-secret"

    def __init__(self, *outputs: Any) -> None:
        self.outputs, self.calls = list(outputs), 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.calls += 1
        return self.outputs.pop(0)

    def embed_query(self, text: str) -> list[float]:
        raise AssertionError("questions are compared with questions: one method for all")


class OpenAIEmbeddings(Scripted):
    model = "text-embedding-3-small"


class OpenAIEmbedding(MockEmbedding):
    pass


def test_names_stand_for_our_embedders() -> None:
    assert isinstance(as_embedder("minilm"), MiniLMEmbedder)
    assert isinstance(as_embedder("hashing"), HashingEmbedder)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        UnknownNameError, match=re.escape("embedder='bert' is not known. Use one of ['hashing', 'minilm']")
    ):
        as_embedder("bert")


def test_an_embedder_is_passed_through() -> None:
    ours = HashingEmbedder()

    assert as_embedder(ours) is ours


def test_anything_else_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="embedder=42 is no embedder"):
        as_embedder(42)


def test_langchain_embeddings_become_unit_vectors() -> None:
    embedder = as_embedder(DeterministicFakeEmbedding(size=24))

    vectors = embedder.embed(["a", "b", "a"])
    assert (vectors.shape, vectors.dtype, embedder.dim) == ((3, 24), np.float32, 24)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[2])


def test_llama_index_embeddings_become_unit_vectors() -> None:
    embedding: BaseEmbedding = MockEmbedding(embed_dim=16)
    embedder = as_embedder(embedding)

    np.testing.assert_allclose(embedder.embed(["a", "b"]), np.full((2, 16), 0.25), atol=1e-6)
    assert embedder.dim == 16


def test_one_model_has_one_id_in_both_frameworks() -> None:
    llama = OpenAIEmbedding(embed_dim=2, model_name="text-embedding-3-small")

    assert as_embedder(OpenAIEmbeddings()).id == as_embedder(llama).id == "OpenAI/text-embedding-3-small"


def test_id_is_the_class_where_no_model_is_named() -> None:
    assert as_embedder(DeterministicFakeEmbedding(size=4)).id == "DeterministicFake"
    assert as_embedder(MockEmbedding(embed_dim=4)).id == "Mock"


def test_id_and_repr_hold_no_secret() -> None:
    embedder = as_embedder(Scripted())

    assert embedder.id == "Scripted/scripted-1"
    assert "sk-secret" not in repr(embedder)


def test_nothing_is_embedded_before_it_is_needed_and_the_probe_only_once() -> None:
    scripted = Scripted([[3.0, 4.0]])
    embedder = as_embedder(scripted)
    assert scripted.calls == 0

    assert (embedder.dim, embedder.dim, embedder.embed([]).shape, scripted.calls) == (2, 2, (0, 2), 1)


def test_what_was_embedded_spares_the_probe() -> None:
    scripted = Scripted([[3.0, 4.0]])
    embedder = as_embedder(scripted)

    np.testing.assert_allclose(embedder.embed(["a"]), [[0.6, 0.8]], atol=1e-6)
    assert (embedder.dim, scripted.calls) == (2, 1)


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        ([[1.0, 0.0]], r"shape (1, 2) for 2 texts"),
        ([1.0, 0.0], r"shape (2,) for 2 texts"),
        ([[], []], r"shape (2, 0) for 2 texts"),
        ([[1.0], [1.0, 2.0]], "vectors of different lengths"),
        ([["a"], ["b"]], "no numbers"),
        (None, "shape () for 2 texts"),
        ([[1.0, 0.0], [0.0, 0.0]], "a vector of zeros"),
        ([[1.0, 0.0], [float("nan"), 1.0]], "NaN"),
        ([[1.0, 0.0], [float("inf"), 1.0]], "infinity"),
    ],
)
def test_output_that_is_no_embeddings_is_refused(output: Any, complaint: str) -> None:
    with pytest.raises(EmbeddingError, match=re.escape(complaint)):
        as_embedder(Scripted(output)).embed(["a", "b"])


def test_vectors_of_another_length_than_before_are_refused() -> None:
    embedder = as_embedder(Scripted([[1.0, 0.0]], [[1.0, 0.0, 0.0]]))
    embedder.embed(["a"])

    with pytest.raises(EmbeddingError, match="length 3 after some of length 2"):
        embedder.embed(["b"])


def test_the_frameworks_own_error_passes_through() -> None:
    class Down(Scripted):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise ConnectionError("no route")

    with pytest.raises(ConnectionError, match="no route"):
        as_embedder(Down()).embed(["a"])
