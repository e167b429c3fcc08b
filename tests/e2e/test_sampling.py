"""The same sampling through both frameworks is the same request to the provider."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from llama_index.llms.openai_like import OpenAILike

from langchain_rar.ports import ChildModel
from llama_index_rar.ports import Port
from rar.drive import Model
from rar.sampling import Sampling
from rar.values import Call, question
from tests.fake_openai import FakeOpenAI


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7),
        Sampling(temperature=0.0, max_tokens=3),
        Sampling(temperature=1.0, max_tokens=9, seed=4, logprobs=True, timeout=30.0),
    ],
)
def test_both_frameworks_send_the_same(sampling: Sampling, fake_openai: FakeOpenAI) -> None:
    models: list[Model] = [
        ChildModel("weak", ChatOpenAI(model="small", base_url=fake_openai.url, api_key="none", max_retries=0)),
        Port(OpenAILike(model="small", api_base=fake_openai.url, api_key="none", is_chat_model=True, max_retries=0)),
    ]

    replies = [model.call(Call("weak", question("Heads or tails?"), sampling=sampling)) for model in models]

    first, second = (settings(sent.body) for sent in fake_openai.calls())
    assert first == second == {name: value for name, value in sampling.settings.items() if name != "timeout"}
    assert replies[0].text == replies[1].text


def settings(body: dict[str, Any]) -> dict[str, Any]:
    """What a request says beside its text; OpenAI has two names for one of the settings."""
    renamed = {("max_tokens" if name == "max_completion_tokens" else name): value for name, value in body.items()}
    return {name: value for name, value in renamed.items() if name not in {"model", "messages", "stream"}}
