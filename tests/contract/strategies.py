"""What every strategy keeps to, through both frameworks: `STRATEGIES` has a line for each, the tests do the rest.

A line makes a strategy over the models `"weak"`, `"coder"` and `"strong"`, which are `small`, `code` and `large` on the
fake server. They answer alike: an echo, a call of the tool that is named, or the fields of a schema.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, TypeAlias

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, ConfigDict

from langchain_rar import RouterChatModel
from llama_index_rar import RouterLLM
from rar import Reply, Request
from rar.strategies import (
    RAR,
    AgreementCascade,
    Approximation,
    BestOf,
    BestOfN,
    Blended,
    Cached,
    Cascade,
    CascadeRouting,
    ChainOfThought,
    Experts,
    FewShot,
    Fused,
    LabelledTexts,
    LearnedScorer,
    MultiLevel,
    PromptTask,
    SelfConsistency,
    TextClassifier,
    Threshold,
    TreeOfThoughts,
)
from rar.strategy import Strategy
from tests.core.expert_answers import selector
from tests.core.sums import sums
from tests.core.topics import ranking


class Longest:
    """Ranks the longest reply first."""

    def rank(self, request: Request, replies: Sequence[Reply]) -> Sequence[int]:
        return sorted(range(len(replies)), key=lambda at: -len(replies[at].text))


def _apart(_: Request, reply: Reply) -> int:
    """No two drafts are alike."""
    return id(reply)


@cache
def learned() -> LearnedScorer:
    """A scorer of the three models, fitted to sums."""
    return LearnedScorer().fit(replace(sums(60), models=("weak", "coder", "strong")))


@cache
def routing(budget: float) -> CascadeRouting:
    """Cascade routing among the three models, fitted to sums."""
    names = {"small": "weak", "middle": "coder", "large": "strong"}
    return CascadeRouting.fit(sums(120), budget=budget, names=names)


@cache
def levels(*names: str) -> MultiLevel:
    """Chat models behind a classifier of moods that has not heard of sums. The last one is always right."""
    moods, labels = ["Gold rises", "Gold falls", "Silver climbs", "Silver sinks"] * 10, ["up", "down"] * 20
    often = ["down" if n % 4 == 1 else "up" for n in range(40)]  # its "up" is not to be trusted
    answers = {name: labels if name == names[-1] else often for name in names}
    val = LabelledTexts(["multiply 6 by 7", "multiply 2 by 9"] * 20, labels, answers)
    costs = [1.0, *(10.0**n for n in range(1, len(names) + 1))]
    return MultiLevel([TextClassifier.fit(moods, labels), *names], costs=costs).fit(val)


STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "RAR": RAR,
    "AgreementCascade": lambda: AgreementCascade(["weak", "coder"]),
    "AgreementCascade, of one model": lambda: AgreementCascade(["weak", ("weak", "Be sure.")]),
    "AgreementCascade, never": lambda: AgreementCascade(["weak", "coder"], judge=lambda request, one, other: False),
    "Approximation, abstaining": lambda: Approximation.fit(["Gold rises", "Gold falls"] * 20, ["up", "down"] * 20),
    "Threshold": lambda: Threshold(lambda text: 0.0),
    "BestOf": lambda: BestOf(["weak", "coder", "strong"], ranking("weak", "coder", "strong")),
    "Blended": lambda: Blended(["weak", "coder", "strong"]),
    "Cached": lambda: Cached("weak"),
    "Cached, RAR": Cached,
    "BestOfN": lambda: BestOfN(Longest(), "coder", 3),
    "MultiLevel": lambda: levels("coder"),
    "MultiLevel, of two models": lambda: levels("weak", "strong"),
    "FewShot": lambda: FewShot([("add 2 and 2", "4")]),
    "FewShot, a vote": lambda: FewShot([("add 2 and 2", "4")], SelfConsistency("weak")),
    "Fused": lambda: Fused(["weak", "coder"]),
    "Fused, in rounds": lambda: Fused(["weak", "coder"], Longest(), rounds=2),
    "Fused, the best draft": lambda: Fused(["weak", "coder", "strong"], Longest(), fuser=None),
    "Experts": lambda: Experts({"brief": "Be brief.", "careful": ("coder", "Take care.")}, selector()),
    "Experts, none sure": lambda: Experts({"brief": "Be brief.", "careful": ("coder", "")}, selector(), 1.0),
    "Cascade": lambda: Cascade(lambda request, draft: True, ["weak", "coder", "strong"]),
    "Cascade, fitted": lambda: Cascade(learned(), ["weak", "coder", "strong"]),
    "Cascade, learned": lambda: Cascade("learned", ["weak", "coder", "strong"]),
    "Cascade, nothing accepted": lambda: Cascade(lambda request, draft: False, ["weak", "coder", "strong"]),
    "CascadeRouting": lambda: routing(20.0),
    "CascadeRouting, at little cost": lambda: routing(4.0),
    "ChainOfThought": lambda: ChainOfThought("coder"),
    "ChainOfThought, the answer alone": lambda: ChainOfThought("coder", show="answer"),
    "ChainOfThought, a vote": lambda: ChainOfThought(SelfConsistency("weak"), show="answer"),
    "TreeOfThoughts": lambda: TreeOfThoughts(PromptTask(depth=2), "weak", b=1, samples=1, evaluate="vote"),
    "TreeOfThoughts, no calls left": lambda: TreeOfThoughts(PromptTask(), "coder", max_calls=1),
    "SelfConsistency": lambda: SelfConsistency("weak"),
    "SelfConsistency, split": lambda: SelfConsistency("coder", samples=2, escalate_below=1.0, extractor=_apart),
}

NAMES = ("small", "code", "large")
ASKED = "multiply 6 by 7"
Router: TypeAlias = RouterChatModel | RouterLLM
Ask: TypeAlias = Callable[[Any], Awaitable[Any]]


class Product(BaseModel):
    """The result of a multiplication."""

    model_config = ConfigDict(title="product")  # which the prompt below asks for by name

    result: int


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


@cache
def _chat_models(url: str) -> list[ChatOpenAI]:
    usual: Any = {"base_url": url, "api_key": "sk-none", "stream_usage": True, "max_retries": 0}
    return [ChatOpenAI(model=name, **usual) for name in NAMES]


@cache
def _llms(url: str) -> list[OpenAILike]:
    usual: Any = {"api_base": url, "api_key": "sk-none", "max_retries": 0, "context_window": 8_000}
    return [OpenAILike(model=name, is_chat_model=True, is_function_calling_model=True, **usual) for name in NAMES]


def langchain(url: str, strategy: Strategy, observer: Any) -> RouterChatModel:
    weak, coder, strong = _chat_models(url)
    return RouterChatModel(weak, strong, models={"coder": coder}, memory=None, strategy=strategy, observers=[observer])


def llama_index(url: str, strategy: Strategy, observer: Any) -> RouterLLM:
    weak, coder, strong = _llms(url)
    return RouterLLM(weak, strong, models={"coder": coder}, memory=None, strategy=strategy, observers=[observer])


# --- how each framework is asked: what comes back is a text, the names of called tools, or an object ------------------


def _said(message: Any) -> Any:
    return [call["name"] for call in message.tool_calls] or message.text


def _joined(chunks: Sequence[Any]) -> Any:
    first, *rest = chunks
    return _said(first + rest)


async def _read(chunks: AsyncIterator[Any]) -> list[Any]:
    return [chunk async for chunk in chunks]


async def _invoke(model: Any) -> Any:
    return model.invoke(ASKED)


async def _stream(model: Any) -> Any:
    return list(model.stream(ASKED))


async def _ainvoke(model: Any) -> Any:
    return await model.ainvoke(ASKED)


async def _astream(model: Any) -> Any:
    return await _read(model.astream(ASKED))


_PREPARED: dict[str, Callable[[Any], Any]] = {
    "plain": lambda model: model,
    "tools": lambda model: model.bind_tools([tool(multiply)]),
    "schema": lambda model: model.with_structured_output(Product, method="json_schema"),
}


def _of_langchain(form: str, ask: Ask) -> Ask:
    async def asked(model: Any) -> Any:
        found = await ask(_PREPARED[form](model))
        if form == "schema":
            return found[-1] if isinstance(found, list) else found
        return _joined(found) if isinstance(found, list) else _said(found)

    return asked


_TOOL = FunctionTool.from_defaults(fn=multiply)
_PROMPT: Any = PromptTemplate("multiply {a} by 7, what is the product?")


async def _complete(llm: Any) -> Any:
    return llm.complete(ASKED).text


async def _acomplete(llm: Any) -> Any:
    return (await llm.acomplete(ASKED)).text


async def _stream_complete(llm: Any) -> Any:
    return _last(llm.stream_complete(ASKED)).text


async def _astream_complete(llm: Any) -> Any:
    return (await _read(await llm.astream_complete(ASKED)))[-1].text


def _last(chunks: Iterator[Any]) -> Any:
    return list(chunks)[-1]


def _called(llm: Any, response: Any) -> list[str]:
    return [call.tool_name for call in llm.get_tool_calls_from_response(response)]


async def _tools(llm: Any) -> Any:
    return _called(llm, llm.chat_with_tools([_TOOL], user_msg=ASKED))


async def _atools(llm: Any) -> Any:
    return _called(llm, await llm.achat_with_tools([_TOOL], user_msg=ASKED))


async def _stream_tools(llm: Any) -> Any:
    return _called(llm, _last(llm.stream_chat_with_tools([_TOOL], user_msg=ASKED)))


async def _astream_tools(llm: Any) -> Any:
    return _called(llm, (await _read(await llm.astream_chat_with_tools([_TOOL], user_msg=ASKED)))[-1])


async def _schema(llm: Any) -> Any:
    return llm.structured_predict(Product, _PROMPT, a=6)


async def _aschema(llm: Any) -> Any:
    return await llm.astructured_predict(Product, _PROMPT, a=6)


async def _stream_schema(llm: Any) -> Any:
    return _last(llm.stream_structured_predict(Product, _PROMPT, a=6))


async def _astream_schema(llm: Any) -> Any:
    return (await _read(await llm.astream_structured_predict(Product, _PROMPT, a=6)))[-1]


Make: TypeAlias = Callable[[str, Strategy, Any], Router]
_MODES = ("sync", "async", "stream", "astream")
_LLAMA_INDEX: dict[str, Sequence[Ask]] = {
    "plain": (_complete, _acomplete, _stream_complete, _astream_complete),
    "tools": (_tools, _atools, _stream_tools, _astream_tools),
    "schema": (_schema, _aschema, _stream_schema, _astream_schema),
}
WAYS: dict[str, tuple[str, Make, Ask]] = {
    **{
        f"langchain {form} {mode}": (form, langchain, _of_langchain(form, ask))
        for form in _PREPARED
        for mode, ask in zip(_MODES, (_invoke, _ainvoke, _stream, _astream), strict=True)
    },
    **{
        f"llama_index {form} {mode}": (form, llama_index, ask)
        for form, asks in _LLAMA_INDEX.items()
        for mode, ask in zip(_MODES, asks, strict=True)
    },
}
