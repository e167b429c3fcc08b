"""Questions in other words, behind the LLM: they follow a verdict, unless that is turned off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.llms import LLM, ChatMessage

from llama_index_rar import RouterLLM
from tests.core.rewordings import teach, unseen


@pytest.fixture
def taught(openai: Callable[..., LLM]) -> Any:
    def make(**options: Any) -> RouterLLM:
        usual: dict[str, Any] = {"memory": ":memory:", "embedder": "hashing", "learning": "inline", "audit_rate": 0.0}
        llm = RouterLLM(openai("small"), openai("large"), **usual, **options)
        teach(llm.router.memory)
        return llm

    return make


async def test_a_question_in_other_words_follows_the_verdict(taught: Any) -> None:
    llm = taught()

    easy, hard = llm.complete(unseen(0)), await llm.achat([ChatMessage(unseen(1))])

    assert easy.additional_kwargs["rar"]["reason"] == "memory_paraphrase"
    assert easy.additional_kwargs["rar"]["model"] == "weak"
    assert hard.additional_kwargs["rar"]["model"] == "strong"


def test_it_can_be_turned_off(taught: Any) -> None:
    answer = taught(paraphrase=None).complete(unseen(0))

    assert answer.additional_kwargs["rar"]["reason"] != "memory_paraphrase"
