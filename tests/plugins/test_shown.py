"""What users see of a strategy that has more to say than the answer, whole and as a stream, in both frameworks."""

from __future__ import annotations

from typing import Any

import pytest

from rar.strategies import ChainOfThought, Fused
from tests.contract.strategies import langchain, llama_index
from tests.fake_openai import FakeOpenAI

THOUGHT = "Seventeen and twenty-five are forty-two.\nAnswer: 42"


class Unmoved:
    """Hears of decisions, and does nothing."""

    def decided(self, event: object) -> None: ...


def chunks_of(model: Any) -> list[str]:
    if hasattr(model, "invoke"):
        return [chunk.text for chunk in model.stream("17 + 25?") if chunk.text]
    return [chunk.delta for chunk in model.stream_complete("17 + 25?") if chunk.delta]


def whole_of(model: Any) -> str:
    return str(model.invoke("17 + 25?").text if hasattr(model, "invoke") else model.complete("17 + 25?").text)


@pytest.mark.parametrize("make", [langchain, llama_index])
def test_thoughts_stream_as_they_come(make: Any, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", THOUGHT)
    model = make(fake_openai.url, ChainOfThought(), Unmoved())

    chunks = chunks_of(model)
    assert len(chunks) > 3
    assert "".join(chunks) == whole_of(model) == THOUGHT
    assert "step by step" in fake_openai.calls("small")[0].messages[-1]["content"]


@pytest.mark.parametrize("make", [langchain, llama_index])
def test_or_the_answer_is_shown_alone(make: Any, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", THOUGHT)
    model = make(fake_openai.url, ChainOfThought(show="answer"), Unmoved())

    assert chunks_of(model) == ["42"]
    assert whole_of(model) == "42"


@pytest.mark.parametrize("make", [langchain, llama_index])
def test_a_fused_answer_streams_and_its_drafts_are_not_shown(make: Any, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", "Draft one.")
    fake_openai.script("code", "Draft two.")
    fake_openai.script("large", "One answer made of two.")
    model = make(fake_openai.url, Fused(["weak", "coder"]), Unmoved())

    chunks = chunks_of(model)
    assert len(chunks) > 3
    assert "".join(chunks) == whole_of(model) == "One answer made of two."
    sent = fake_openai.calls("large")[0].messages[-1]["content"]
    assert sent.startswith("17 + 25?")
    assert "Draft one." in sent
    assert "Draft two." in sent
