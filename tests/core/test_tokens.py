"""Tokens: what providers report under many names, and the estimate, held against a real tokenizer."""

from __future__ import annotations

import base64
import json
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rar.embedding.minilm import TOKENIZER
from rar.tokens import counted, estimate, reported
from rar.values import Call, Guide, Message, Reply, Request, ToolCall, Usage, question

PROSE = "The harbour office charges a fee for each ship that stays longer than two nights, and asks for it in advance. "
CODE = 'def total(prices: list[float]) -> float:\n    """All."""\n    return sum(1.19 * price for price in prices)\n'
TEXTS = {
    "prose": PROSE * 10,
    "a question": "What is two plus two?",
    "code": CODE * 10,
    "json": json.dumps([{"city": "Paris", "days": 3, "metric": True, "note": None}] * 20),
    "numbers": " ".join(str(random.Random(n).randrange(10**9)) for n in range(50)),
    "a table": "| a | 1.23 | 4.56 |\n|---|---|---|\n" * 20,
    "indented": "\n".join(" " * 40 + line for line in (CODE * 5).splitlines()),
    "German": "Die Verwaltung der Hafengebühren wird im Herbst überprüft, weil höhere Einnahmen erwartet werden. " * 10,
    "Russian": "Какая погода будет завтра в Москве и стоит ли брать зонт на прогулку по набережной? " * 10,
    "Greek": "Ποιος είναι ο καιρός αύριο στην Αθήνα και χρειάζομαι ομπρέλα; " * 10,
    "Arabic": "كيف سيكون الطقس غدا في القاهرة وهل يجب أن آخذ مظلة معي؟ " * 10,
    "Chinese": "今天的天气怎么样？请告诉我明天去公园散步需要带伞吗，以及附近有什么好吃的餐厅。" * 10,
    "Japanese": "明日の東京の天気を教えてください。傘を持っていく必要がありますか？" * 10,
    "Korean": "내일 서울 날씨는 어떻습니까? 우산을 가져가야 하나요? " * 10,
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@pytest.mark.parametrize("kind", TEXTS)
def test_an_estimate_is_near_what_a_tokenizer_counts(kind: str, tokenizer: Any) -> None:
    text = TEXTS[kind]
    real = len(tokenizer.encode(text, add_special_tokens=False).ids)

    assert 0.55 * real <= estimate(text) <= 1.5 * real


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        (" \n\t " * 100, 0, 0),
        ("4", 1, 1),
        ("7" * 3_000, 1_000, 1_500),  # three digits a token, as most have it; WordPiece gives up on such a word
        ("x" * 1_000_000, 200_000, 300_000),
        ("🙂🎉🚀" * 100, 300, 900),
        ("\ud800 lone", 1, 4),
        (base64.b64encode(bytes(range(256)) * 4).decode(), 300, 1_100),
    ],
)
def test_estimates_of_strange_texts_stay_in_reason(text: str, least: int, most: int) -> None:
    assert least <= estimate(text) <= most


@given(st.text(), st.text())
def test_estimates_add_up_and_are_never_more_than_bytes(one: str, other: str) -> None:
    assert 0 <= estimate(one) <= len(one.encode("utf-8", "surrogatepass"))
    assert max(estimate(one), estimate(other)) <= estimate(one + other) <= estimate(one) + estimate(other)


GUIDE = Guide("g", "default", "answer", PROSE, np.ones(2, np.float32), "big", "e")
CALL = Call("weak", question(PROSE))


def test_what_the_provider_reports_stands() -> None:
    assert counted(CALL, Reply("weak", PROSE, usage=Usage(3, 2))) == Usage(3, 2)


@pytest.mark.parametrize("usage", [Usage(), Usage(3, 0), Usage(0, 2)])
def test_each_count_that_is_missing_is_estimated_and_the_other_stands(usage: Usage) -> None:
    found = counted(CALL, Reply("weak", PROSE, usage=usage))

    assert found.estimated
    assert found.output_tokens == (usage.output_tokens or estimate(PROSE))
    assert found.input_tokens == usage.input_tokens or found.input_tokens > estimate(PROSE)


def test_all_that_was_sent_counts_guide_and_earlier_messages_included() -> None:
    plain = counted(CALL, Reply("weak", "Yes."))
    guided = counted(Call("weak", CALL.request, GUIDE), Reply("weak", "Yes."))
    longer = Request((Message("system", PROSE), Message("user", PROSE), Message("assistant", PROSE)))

    assert guided.input_tokens > plain.input_tokens + estimate(PROSE)
    assert counted(Call("weak", longer), Reply("weak", "Yes.")).input_tokens > 3 * estimate(PROSE)
    assert counted(Call("weak", longer, GUIDE), Reply("weak", "Yes.")).input_tokens > 4 * estimate(PROSE)


def test_tool_calls_are_part_of_a_reply() -> None:
    call = ToolCall("get_weather", {"city": "Paris", "note": PROSE})

    assert counted(CALL, Reply("weak", "", (call,))).output_tokens > estimate(PROSE)


def test_an_empty_reply_wrote_nothing_and_what_a_cache_gave_used_nothing() -> None:
    assert counted(CALL, Reply("weak", "", usage=Usage(3, 0))) == Usage(3, 0)
    assert counted(CALL, Reply("weak", PROSE, cached=True)) == Usage()


def test_sums_are_estimated_if_a_part_is() -> None:
    assert Usage(1, 2) + Usage(3, 4, estimated=True) == Usage(4, 6, estimated=True)
    assert not (Usage(1, 2) + Usage(3, 4)).estimated


@pytest.mark.parametrize(
    "source",
    [
        {"prompt_tokens": 3, "completion_tokens": 2},
        {"input_tokens": 3, "output_tokens": 2},
        {"prompt_token_count": 3, "candidates_token_count": 2},
        {"prompt_eval_count": 3, "eval_count": 2},
        SimpleNamespace(input_tokens=3, output_tokens=2),
    ],
)
def test_counts_are_found_under_every_name(source: Any) -> None:
    assert reported([None, {}, source]) == Usage(3, 2)


@pytest.mark.parametrize("source", [{"input_tokens": None}, {"prompt_tokens": -1}, {"usage": "much"}, "text", 0])
def test_what_is_no_count_is_not_reported(source: Any) -> None:
    assert reported([source]) == Usage()
