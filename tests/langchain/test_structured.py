"""Structured output: the user's arguments reach each child, and what comes back is what that child would have given."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from langchain_rar import RouterChatModel
from rar.errors import ConfigurationError
from rar.strategies import Cascade
from tests.fake_openai import FakeOpenAI, Reply
from tests.langchain.conftest import MakeModel, MakeRouter, Notes

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")


class City(BaseModel):
    """A city."""

    name: str
    age: int


METHODS = ["json_schema", "function_calling", "json_mode"]
every_method = pytest.mark.parametrize("method", METHODS)


@every_method
@pytest.mark.parametrize("include_raw", [False, True], ids=["parsed", "raw"])
@pytest.mark.parametrize("to", ["weak", "strong"])
async def test_each_method_reaches_the_wire(
    method: str, include_raw: bool, to: str, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    model = routed(to).with_structured_output(City, method=method, include_raw=include_raw)
    fake_openai.script("small" if to == "weak" else "large", _answer)

    for given in (model.invoke("Say"), await model.ainvoke("Say")):
        parsed = given["parsed"] if include_raw else given
        assert parsed == City(name="Rome", age=2777)
        if include_raw:
            assert given["raw"].response_metadata["rar"]["model"] == to
            assert given["parsing_error"] is None
    for sent in fake_openai.calls():
        assert ("tools" in sent.body) is (method == "function_calling")
        form = {"json_schema": "json_schema", "json_mode": "json_object", "function_calling": None}[method]
        assert sent.body.get("response_format", {}).get("type") == form


def _answer(body: dict[str, Any]) -> Reply:
    fields = {"name": "Rome", "age": 2777}
    return Reply(tool_calls=[("City", fields)]) if body.get("tools") else Reply('{"name": "Rome", "age": 2777}')


@pytest.mark.parametrize("strict", [True, False])
def test_strict_reaches_the_wire(strict: bool, routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    routed().with_structured_output(City, method="function_calling", strict=strict).invoke("Say 1")

    assert fake_openai.calls()[0].body["tools"][0]["function"]["strict"] is strict


@every_method
async def test_streams_give_the_parsed_whole_in_the_end(
    method: str, routed: MakeRouter, fake_openai: FakeOpenAI, notes: Notes
) -> None:
    fake_openai.script("small", _answer)
    model = routed().with_structured_output(City, method=method)

    parts = list(model.stream("Say", {"callbacks": [notes]}))
    aparts = [part async for part in model.astream("Say")]

    assert parts[-1] == aparts[-1] == City(name="Rome", age=2777)
    assert len(notes.llms) == 1


def test_a_raw_stream_carries_the_decision_on_exactly_one_chunk(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", _answer)
    model = routed().with_structured_output(City, method="function_calling", include_raw=True)

    raws = [part["raw"] for part in model.stream("Say") if "raw" in part]

    assert len([raw for raw in raws if "rar" in raw.response_metadata]) == 1
    assert raws[0].response_metadata["rar"]["model"] == "weak"


def test_arguments_of_the_call_and_of_the_child_reach_the_wire(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    weak = chat("small").bind(seed=7)
    router = RouterChatModel(weak, chat("large"), memory=None, strategy=lambda _: "weak", temperature=0.25)

    for include_raw in (False, True):
        model = router.with_structured_output(City, method="function_calling", include_raw=include_raw)
        model.invoke("Say 1", max_tokens=50)

    for sent in fake_openai.calls():
        assert (sent.body["seed"], sent.body["temperature"]) == (7, 0.25)
        assert sent.body["max_completion_tokens"] == 50


def test_it_is_one_model_run_that_names_the_schema_as_the_childs_own_would(
    routed: MakeRouter, chat: MakeModel, notes: Notes
) -> None:
    routed().with_structured_output(City).invoke("Say 1", {"callbacks": [notes]})
    (llm,) = notes.llms
    assert notes.chains[0]["name"] == "RouterChatModel"

    chat("small").with_structured_output(City).invoke("Say 1", {"callbacks": [notes]})

    assert llm["options"] == notes.llms[-1]["options"]
    assert "schema" in llm["options"]["ls_structured_output_format"]


def test_a_weak_answer_that_does_not_parse_falls_over_to_the_strong_one(
    routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", "no JSON at all")
    fake_openai.script("large", _answer)
    model = routed()

    plain = model.with_structured_output(City, method="json_mode").invoke("Say")
    raw = model.with_structured_output(City, method="json_mode", include_raw=True).invoke("Say")

    assert [sent.model for sent in fake_openai.calls()] == ["small", "large"] * 2
    assert isinstance(plain, City)
    assert raw["raw"].response_metadata["rar"]["failed_over"] == ["weak"]


BAD_CITY = Reply(tool_calls=[("City", {"age": "x"})])
CALLS = {
    "invoke": lambda model: _done(model.invoke("Say")),
    "ainvoke": lambda model: model.ainvoke("Say"),
    "stream": lambda model: _done([None, *model.stream("Say")][-1]),
    "astream": lambda model: _last(model.astream("Say")),
    "batch": lambda model: _done(model.batch(["Say"])[0]),
}


async def _done(value: Any) -> Any:
    return value


async def _last(stream: Any) -> Any:
    return ([None] + [part async for part in stream])[-1]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize(
    "weak", ["I would rather chat.", '{"name": "Rome"', Reply(tool_calls=[("City", {"age": "x"})])]
)
async def test_a_weak_model_that_gives_no_object_falls_over_in_every_mode(
    call: Any, weak: Any, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", weak)
    fake_openai.script("large", _answer)
    model = routed().with_structured_output(City, method="function_calling")

    assert await call(model) == City(name="Rome", age=2777)
    assert [sent.model for sent in fake_openai.calls()] == ["small", "large"]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_no_object_from_the_strong_model_is_passed_on_as_it_is(
    call: Any, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("large", "I would rather chat.")

    assert await call(routed("strong").with_structured_output(City, method="function_calling")) is None


def test_fields_that_are_called_as_those_of_a_raw_answer_are_no_raw_answer(
    routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    schema = {"title": "Meat", "type": "object", "properties": {"raw": {"type": "boolean"}}, "required": ["raw"]}
    fake_openai.script("small", Reply(tool_calls=[("Meat", {"raw": False})]))

    given = routed().with_structured_output(schema, method="function_calling").invoke("Is it raw?")

    assert given == {"raw": False}
    assert [sent.model for sent in fake_openai.calls()] == ["small"]


def test_a_parsing_error_that_nobody_can_mend_is_the_users(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("large", "no JSON at all")
    model = routed("strong")

    with pytest.raises(OutputParserException):
        model.with_structured_output(City, method="json_mode").invoke("Say")
    raw = model.with_structured_output(City, method="json_mode", include_raw=True).invoke("Say")

    assert isinstance(raw["parsing_error"], OutputParserException)
    assert raw["raw"].text == "no JSON at all"


@every_method
@pytest.mark.parametrize("include_raw", [False, True], ids=["parsed", "raw"])
def test_an_accepted_draft_is_parsed_like_any_answer(
    method: str, include_raw: bool, routed: MakeRouter, fake_openai: FakeOpenAI, notes: Notes
) -> None:
    fake_openai.script("small", _answer)
    model = routed(strategy=Cascade(lambda request, draft: True))

    given = model.with_structured_output(City, method=method, include_raw=include_raw).invoke(
        "Say", {"callbacks": [notes]}
    )

    assert (given["parsed"] if include_raw else given) == City(name="Rome", age=2777)
    assert [sent.model for sent in fake_openai.calls()] == ["small"]
    assert len(notes.llms) == 1


def test_a_schema_is_a_task_of_its_own(routed: MakeRouter) -> None:
    tasks: list[str] = []
    model = routed(lambda request: tasks.append(request.task) or "weak")

    model.with_structured_output(City).invoke("Say 1")
    model.with_structured_output(City, include_raw=True, method="function_calling").invoke("Say 2")
    model.invoke("Say 1")

    assert tasks[0] == tasks[1]
    assert tasks[0].startswith("schema:")
    assert tasks[2] == "answer"


def test_with_config_and_with_retry_keep_working(routed: MakeRouter, notes: Notes) -> None:
    model = routed().with_structured_output(City).with_config(callbacks=[notes]).with_retry()

    assert isinstance(model.invoke("Say 'Rome' 1"), City)
    assert len(notes.llms) == 1


def test_a_child_that_cannot_is_told_of_at_once(chat: MakeModel) -> None:
    from langchain_core.runnables import RunnableLambda

    plain = RunnableLambda(lambda messages: AIMessage("plain"))

    with pytest.raises(ConfigurationError, match="cannot give structured output"):
        RouterChatModel(plain, chat("large"), memory=None).with_structured_output(City)
