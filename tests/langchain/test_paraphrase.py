"""Questions in other words, behind the chat model: they follow a verdict, tools follow none."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import tool

from langchain_rar import RouterChatModel
from tests.core.rewordings import teach, unseen
from tests.langchain.conftest import MakeModel


@tool
def weigh(thing: str) -> str:
    """Weigh a thing."""
    return thing


@pytest.fixture
def taught(chat: MakeModel) -> Any:
    def make(**options: Any) -> RouterChatModel:
        usual: dict[str, Any] = {"memory": ":memory:", "embedder": "hashing", "learning": "inline", "audit_rate": 0.0}
        model = RouterChatModel(chat("small"), chat("large"), **usual, **options)
        teach(model.router.memory)
        return model

    return make


async def test_a_question_in_other_words_follows_the_verdict(taught: Any) -> None:
    model = taught()

    easy, hard = model.invoke(unseen(0)), await model.ainvoke(unseen(1))

    assert easy.response_metadata["rar"]["reason"] == "memory_paraphrase"
    assert easy.response_metadata["rar"]["model"] == "weak"
    assert hard.response_metadata["rar"]["model"] == "strong"


def test_none_with_tools_or_where_it_is_turned_off(taught: Any) -> None:
    with_tools = taught().bind_tools([weigh]).invoke(unseen(0))
    turned_off = taught(paraphrase=None).invoke(unseen(0))

    for answer in (with_tools, turned_off):
        assert answer.response_metadata["rar"]["reason"] != "memory_paraphrase"
