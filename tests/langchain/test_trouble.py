"""Bad input and bad days: a named error or a noted degradation, and the user's answer is never lost."""

from __future__ import annotations

import threading
from typing import Any

import openai
import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.errors import GraphInterrupt

from langchain_rar import RouterChatModel
from rar.errors import ConfigurationError, ModelTimeoutError
from rar.values import Request
from tests.fake_openai import FakeOpenAI, Reply
from tests.langchain.conftest import MakeModel, MakeRouter, Notes
from tests.langchain.test_runs import MODES, Mode, every_mode

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")

OUT_OF_ORDER = Reply("out of order", status=500)


async def _stream(model: RouterChatModel) -> AIMessage:
    first, *rest = model.stream([])
    return first + rest


@pytest.mark.parametrize("call", [lambda model: model.ainvoke([]), _stream])
async def test_no_messages_are_for_the_strong_models_client_to_answer(
    call: Any, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("large", "What do you mean?")

    message = await call(routed())

    assert (message.text, message.response_metadata["rar"]["reason"]) == ("What do you mean?", "no_messages")


@every_mode
async def test_the_strong_model_answers_when_the_weak_one_raises(
    mode: Mode, routed: MakeRouter, fake_openai: FakeOpenAI, notes: Notes
) -> None:
    fake_openai.script("small", OUT_OF_ORDER)

    message = await mode(routed(), {"callbacks": [notes]})

    assert message.text == "You said: Hello there"
    facts = message.response_metadata["rar"]
    assert (facts["model"], facts["reason"], facts["failed_over"]) == ("strong", "weak_failed", ["weak"])
    assert [llm["metadata"]["ls_model_name"] for llm in notes.llms] == ["small", "large"]
    assert [run_id for run_id, _ in notes.errors] == [notes.llms[0]["run_id"]]


@every_mode
async def test_an_error_of_the_strong_model_is_the_users_and_ends_the_runs(
    mode: Mode, routed: MakeRouter, fake_openai: FakeOpenAI, notes: Notes
) -> None:
    fake_openai.script("large", OUT_OF_ORDER)

    with pytest.raises(openai.InternalServerError, match="out of order"):
        await mode(routed("strong"), {"callbacks": [notes]})

    assert [run_id for run_id, _ in notes.errors] == [notes.llms[0]["run_id"], notes.chains[0]["run_id"]]
    assert fake_openai.calls("small") == []


@every_mode
async def test_the_weak_model_answers_for_the_strong_one_where_that_was_asked_for(
    mode: Mode, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("large", OUT_OF_ORDER)

    message = await mode(routed("strong", degrade=True), {})

    assert message.response_metadata["rar"]["failed_over"] == ["strong"]
    assert message.text == "You said: Hello there"


@every_mode
async def test_the_strong_model_answers_when_the_weak_one_returns_nothing(
    mode: Mode, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", "")

    message = await mode(routed(), {})

    assert message.text == "You said: Hello there"
    assert message.response_metadata["rar"]["failed_over"] == ["weak"]


@every_mode
async def test_nothing_from_the_strong_model_is_passed_on_as_it_is(
    mode: Mode, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("large", "")

    message = await mode(routed("strong"), {})

    assert (message.text, message.response_metadata["rar"]["failed_over"]) == ("", [])


@every_mode
async def test_nothing_from_both_models_is_passed_on_as_it_is(
    mode: Mode, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", "")
    fake_openai.script("large", "")

    message = await mode(routed(), {})

    assert (message.text, message.response_metadata["rar"]["failed_over"]) == ("", ["weak"])


THOUGHTS_ONLY: list[Any] = [
    [{"type": "text", "text": ""}],
    [{"type": "reasoning", "reasoning": "Let me see."}],
    [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}, {"type": "text", "text": " "}],
    [{"type": "redacted_thinking", "data": "YQ=="}],
    "",
]


class Says(GenericFakeChatModel):
    """Answers with the given content, streamed in one chunk after an empty one."""

    messages: Any = None
    name_: str
    content: Any
    extras: Any = None

    @property
    def model(self) -> str:
        return self.name_

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        message = AIMessage(self.content, additional_kwargs=self.extras or {})
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        yield ChatGenerationChunk(message=AIMessageChunk(""))
        yield ChatGenerationChunk(message=AIMessageChunk(self.content, additional_kwargs=self.extras or {}))


@every_mode
@pytest.mark.parametrize("content", THOUGHTS_ONLY)
async def test_thoughts_and_empty_blocks_are_no_answer(mode: Mode, content: Any) -> None:
    weak = Says(name_="small", content=content, extras={} if content else {"reasoning_content": "Let me see."})
    model = RouterChatModel(weak, Says(name_="large", content="Paris"), memory=None, strategy=lambda _: "weak")

    message = await mode(model, {})

    assert (message.text, message.response_metadata["rar"]["failed_over"]) == ("Paris", ["weak"])


async def test_a_refusal_is_an_answer() -> None:
    weak = Says(name_="small", content="", extras={"refusal": "I cannot help with that."})
    model = RouterChatModel(weak, Says(name_="large", content="Paris"), memory=None, strategy=lambda _: "weak")

    assert model.invoke("Hello").response_metadata["rar"]["model"] == "weak"
    assert next(iter(model.stream("Hello"))).response_metadata["rar"]["model"] == "weak"


@pytest.mark.parametrize("mode", [MODES[name] for name in ("stream", "astream", "v3", "av3")])
@pytest.mark.parametrize("cut_after", [-1, 0], ids=["at once", "after the empty first chunk"])
async def test_a_stream_that_breaks_before_its_first_content_falls_over(
    mode: Mode, cut_after: int, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", Reply("never seen", cut_after=cut_after))

    message = await mode(routed(), {})

    assert (message.text, message.response_metadata["rar"]["model"]) == ("You said: Hello there", "strong")


@every_mode
async def test_a_weak_model_that_hangs_falls_over_after_the_time_limit(
    mode: Mode, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", Reply("too late", gate=threading.Event()))

    message = await mode(routed(timeout=0.3), {})

    assert (message.text, message.response_metadata["rar"]["failed_over"]) == ("You said: Hello there", ["weak"])


@every_mode
async def test_a_strong_model_that_hangs_is_a_named_error(
    mode: Mode, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("large", Reply("too late", gate=threading.Event()))

    with pytest.raises(ModelTimeoutError, match="The strong model said nothing for 0.3 s"):
        await mode(routed("strong", timeout=0.3), {})


@every_mode
async def test_a_time_limit_that_is_kept_changes_nothing(mode: Mode, routed: MakeRouter, notes: Notes) -> None:
    message = await mode(routed(timeout=30.0), {"callbacks": [notes]})

    assert message.text == "You said: Hello there"
    assert len(notes.llms) == 1 and notes.llms[0]["parent_run_id"] == notes.chains[0]["run_id"]


async def test_a_stream_that_is_left_early_under_a_time_limit_ends_its_runs(routed: MakeRouter, notes: Notes) -> None:
    stream = routed(timeout=30.0).stream("Hello there", {"callbacks": [notes]})
    next(stream)
    stream.close()

    assert [type(error) for _, error in notes.errors][-1:] == [GeneratorExit]


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf"), "10"])
def test_a_time_limit_that_is_none_is_refused(timeout: Any, routed: MakeRouter) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        routed(timeout=timeout)


@every_mode
async def test_an_interrupt_of_the_graph_is_no_failure(mode: Mode, chat: MakeModel) -> None:
    class Pauses(Says):
        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            raise GraphInterrupt(())

        def _stream(self, *args: Any, **kwargs: Any) -> Any:
            raise GraphInterrupt(())

    model = RouterChatModel(Pauses(name_="small", content=""), chat("large"), memory=None, strategy=lambda _: "weak")

    with pytest.raises(GraphInterrupt):
        await mode(model, {})


def test_a_model_that_does_not_answer_in_time_falls_over(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", Reply("too late", gate=threading.Event()))
    model = RouterChatModel(chat("small", timeout=0.1), chat("large"), memory=None, strategy=lambda _: "weak")

    assert model.invoke("Hello").response_metadata["rar"]["failed_over"] == ["weak"]


@every_mode
async def test_a_weak_model_that_cannot_even_be_made_falls_over(mode: Mode, chat: MakeModel) -> None:
    model = RouterChatModel("nobody:knows", chat("large"), memory=None, strategy=lambda _: "weak")

    assert (await mode(model, {})).response_metadata["rar"]["failed_over"] == ["weak"]


def test_a_strategy_that_raises_leaves_it_to_the_strong_model(routed: MakeRouter) -> None:
    def broken(request: Request) -> str:
        raise ZeroDivisionError

    facts = routed(broken).invoke("Hello").response_metadata["rar"]

    assert (facts["model"], facts["reason"], facts["failed_over"]) == ("strong", "strategy_failed", [])


def test_a_closed_router_lets_the_strong_model_answer(routed: MakeRouter) -> None:
    model = routed()
    model.router.close()

    assert model.invoke("Hello").response_metadata["rar"]["reason"] == "closed"


def test_the_kill_switch_of_the_environment(routed: MakeRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAR_FORCE", "strong")

    assert routed().invoke("Hello").response_metadata["rar"]["model"] == "strong"


def test_a_forced_model_has_no_stand_in(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", OUT_OF_ORDER)

    with pytest.raises(openai.InternalServerError):
        routed().invoke("for the local model only", rar_force="weak")

    assert fake_openai.calls("large") == []


class Echo(GenericFakeChatModel):
    messages: Any = None
    label: str

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        text = f"{self.label}:{len(messages[-1].text)}"
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])


@pytest.mark.parametrize(
    "text",
    ["x" * 1_000_000, "lone \ud800 surrogate", "", " \n", "\x00"],
    ids=["1MB", "surrogate", "empty", "blank", "nul"],
)
@pytest.mark.parametrize("learning", ["inline", "background"])
def test_strange_prompts_are_answered_and_learned_from_without_an_error(text: str, learning: Any) -> None:
    model = RouterChatModel(
        Echo(label="weak"), Echo(label="strong"), memory=":memory:", embedder="hashing", learning=learning
    )

    first = model.invoke([HumanMessage(text)])
    assert model.router.flush(60)
    second = model.invoke([HumanMessage(text)])

    assert first.text == f"strong:{len(text)}"
    assert second.text.endswith(f":{len(text)}")
    model.router.close()


def test_what_is_no_input_is_refused_as_any_chat_model_does(routed: MakeRouter) -> None:
    with pytest.raises(ValueError, match="Invalid input type"):
        routed().invoke(3)  # type: ignore[arg-type]
