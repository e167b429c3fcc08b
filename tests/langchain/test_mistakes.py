"""A mistake is a named error where it is made: misspelt arguments and overrides, wrong values."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

import rar
from langchain_rar import RARMiddleware, RouterChatModel
from rar.errors import AddressError, ConfigurationError, OverrideError, UnknownArgumentError
from rar.options import CHECKS, DEFAULTS, check_near_misses
from tests.langchain.conftest import MakeModel, MakeRouter

WEAK, STRONG = RunnableLambda(lambda _: "a"), RunnableLambda(lambda _: "b")


@pytest.mark.parametrize("make", [RouterChatModel, RARMiddleware])
@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("qualty", "quality"), ("static_ruter", "static_router"), ("learning_buget", "learning_budget"),
     ("temprature", "temperature"), ("rate_limit", "rate_limiter"), ("model", "models"),
     ("tool_to_strong", "tools_to_strong"), ("query_extracter", "query_extractor"), ("Quality", "quality")],
)  # fmt: skip
@pytest.mark.parametrize("names", [False, True])
def test_a_misspelt_argument_is_no_argument_of_a_model(make: Any, wrong: str, meant: str, names: bool) -> None:
    models = {"weak": "openai:small", "strong": "openai:large"} if names else {"weak": WEAK, "strong": STRONG}
    with pytest.raises(UnknownArgumentError, match=f"takes no argument '{wrong}'. Did you mean '{meant}'"):
        make(**models, memory=None, **{wrong: 0.9})


@pytest.mark.parametrize("provider", [ChatOpenAI, ChatAnthropic])
def test_arguments_of_providers_are_near_none_of_ours(provider: type[BaseModel]) -> None:
    ours = [*inspect.signature(RouterChatModel.__init__).parameters, *RouterChatModel.model_fields]
    theirs = [*provider.model_fields, *(field.alias for field in provider.model_fields.values() if field.alias)]
    made_up = {"model", "model_name"}  # what `init_chat_model` is told by the name itself

    check_near_misses("RouterChatModel", set(theirs) - set(ours) - made_up, ours)


def test_all_options_of_the_engine_are_taken_and_shown() -> None:
    engine, ours = (inspect.signature(it.__init__).parameters for it in (rar.Router, RouterChatModel))

    assert {name: ours[name].default for name in DEFAULTS} == {name: engine[name].default for name in DEFAULTS}
    assert "Share of the strong model's quality to keep" in (RouterChatModel.__doc__ or "")


def test_all_options_of_the_engine_are_checked_here_too() -> None:
    engine = inspect.signature(rar.Router.__init__).parameters.keys()
    for name in inspect.signature(RouterChatModel.__init__).parameters.keys() & engine & CHECKS.keys():
        with pytest.raises(ConfigurationError):
            RouterChatModel(**{"weak": WEAK, "strong": STRONG, "memory": None, name: object})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"quality": "95%"}, "Write quality=0.95"),
        ({"static_router": "my-router"}, r"rar\.routers\.load\('my-router'\)"),
        ({"record_queries": "yes"}, "record_queries='yes' is not True or False"),
        ({"tools_to_strong": 1}, "tools_to_strong=1 is not True or False"),
        ({"query_extractor": "question"}, "query_extractor='question' is not a function of messages"),
        ({"weak": ChatOpenAI}, "weak=<class ChatOpenAI> is a class"),
        ({"router": "rar.db"}, "router='rar.db' is not a `rar.Router`"),
        ({"router": rar.Router}, "router=<class Router> is a class"),
    ],
)
@pytest.mark.parametrize("make", [RouterChatModel, RARMiddleware])
def test_wrong_values_are_named(make: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make(**{"weak": WEAK, "strong": STRONG, **({} if "router" in options else {"memory": None}), **options})


def test_an_address_of_another_server_is_no_memory() -> None:
    with pytest.raises(AddressError, match="redis"):
        RouterChatModel(WEAK, STRONG, memory="redis://me:hunter2@h/db")


class Answer(BaseModel):
    text: str


PLACES = {
    "argument": lambda model, given: (model, {}, given),
    "bound": lambda model, given: (model.bind(**given), {}, {}),
    "configurable": lambda model, given: (model, {"configurable": given}, {}),
    "metadata": lambda model, given: (model, {"metadata": given}, {}),
    "with_config": lambda model, given: (model.with_config(configurable=given), {}, {}),
}


async def called(function: Any, *args: Any, **kwargs: Any) -> None:
    """Call what may be sync, async, or a stream of either kind, and read it to its end."""
    result = function(*args, **kwargs)
    if inspect.isawaitable(result):
        await result
    elif hasattr(result, "__anext__"):
        [chunk async for chunk in result]
    elif inspect.isgenerator(result):
        list(result)


class TestOverrides:
    @pytest.mark.parametrize("place", PLACES)
    @pytest.mark.parametrize("mode", ["invoke", "ainvoke", "stream", "astream", "batch", "abatch"])
    async def test_a_misspelt_one_is_an_error_in_every_place_and_mode(
        self, place: str, mode: str, routed: MakeRouter
    ) -> None:
        model, config, kwargs = PLACES[place](routed(trust_metadata=True), {"rar_forse": "weak"})
        with pytest.raises(OverrideError, match="'rar_forse' is no override. Did you mean 'rar_force'"):
            await called(getattr(model, mode), "hello" if "batch" not in mode else ["hello"], config, **kwargs)

    @pytest.mark.parametrize("place", PLACES)
    def test_a_value_of_a_wrong_type_is_an_error(self, place: str, routed: MakeRouter) -> None:
        model, config, kwargs = PLACES[place](routed(trust_metadata=True), {"rar_learn": "false"})
        with pytest.raises(OverrideError, match="rar_learn='false' is not True or False"):
            model.invoke("hello", config, **kwargs)

    def test_structured_output_takes_and_refuses_the_same(self, routed: MakeRouter) -> None:
        with pytest.raises(OverrideError, match="rar_forse"):
            routed().with_structured_output(Answer).invoke("hello", rar_forse="weak")

    def test_a_router_under_a_router_is_not_confused_by_its_stamps(self, routed: MakeRouter, chat: MakeModel) -> None:
        outer = routed("weak", weak=routed("strong"), weak_id="inner")

        assert outer.invoke("hello").text

    def test_other_metadata_is_left_alone(self, routed: MakeRouter) -> None:
        config = {"metadata": {"force": 1, "user": "u", "namespace": "n"}, "configurable": {"thread_id": "1"}}

        assert routed().invoke("hello", config).response_metadata["rar"]["model"] == "weak"
