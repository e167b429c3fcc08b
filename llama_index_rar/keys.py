"""The key in LlamaIndex: the user's query, which most prompts carry as a template variable, and what the prompt is for.

Only answers to users are learned. Prompts by which the framework does its own work (selectors, evaluators, extractors,
condensing a follow-up) have tasks of their own and stay out of the memory. Prompts that reach the model as bare text
are recognised by the framework's own templates.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import BasePromptTemplate, ChatPromptTemplate, PromptTemplate, PromptType

from llama_index_rar.filled import Filled
from rar.keys import Key, ambient_query, last_question
from rar.values import Message

QueryExtractor: TypeAlias = Callable[[Sequence[ChatMessage]], str | None]

_QUERY_VARIABLES = ("query_str", "question", "query", "user_query", "user_question")
_CONTEXT_VARIABLES = {"context_str", "context_msg", "context", "context_list", "text"}
_REFINE_VARIABLES = {"existing_answer"}
# Prompts with these ask about an answer or a conversation instead of asking for an answer.
_WORK_VARIABLES = {
    "generated_answer", "reference_answer", "response", "answer", "answer_1", "answer_2", "second_answer",
    "reference_contexts", "guidelines", "chat_history",
}  # fmt: skip
_ANSWER_TYPES = {PromptType.QUESTION_ANSWER, PromptType.SUMMARY, PromptType.SIMPLE_INPUT, PromptType.CONVERSATION}


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a prompt is for. `task` is None where it asks for an answer to the user; only those are learned from."""

    task: str | None = None
    learn: bool = True


ANSWER = Purpose()
REFINE = Purpose(learn=False)  # the same question again, about a draft: it uses what is known and adds nothing


def _work(name: str) -> Purpose:
    return Purpose(f"llama_index:{name}", learn=False)


@dataclass(frozen=True, slots=True)
class Prompted:
    """What was known about a prompt when its template was filled in.

    Args:
        query: The user's query, if a variable held it.
        boilerplate: The text is nothing but context and instructions, and must not be taken for a question.
        filled: The template itself and what it was filled in with.
    """

    query: str | None = None
    purpose: Purpose = ANSWER
    boilerplate: bool = False
    overrides: Mapping[str, Any] = field(default_factory=dict)
    filled: Filled | None = None


class PromptedMessages(list[ChatMessage]):
    """Messages that remember the template they came from on their way to `chat`."""

    def __init__(self, messages: Sequence[ChatMessage], prompted: Prompted) -> None:
        super().__init__(messages)
        self.prompted = prompted


class PromptedText(str):
    """A prompt that remembers the template it came from on its way to `complete`."""

    __slots__ = ("prompted",)
    prompted: Prompted

    def __new__(cls, text: str, prompted: Prompted) -> PromptedText:
        self = super().__new__(cls, text)
        self.prompted = prompted
        return self


def prompted(prompt: BasePromptTemplate, arguments: Mapping[str, Any], overrides: Mapping[str, Any]) -> Prompted:
    """What `prompt`, filled in with `arguments` (its partials count too), says about the call."""
    values = {**prompt.kwargs, **arguments}
    query = next((values[name] for name in _QUERY_VARIABLES if isinstance(values.get(name), str)), None)
    purpose = _purpose(prompt.metadata.get("prompt_type", PromptType.CUSTOM), values.keys())
    boilerplate = query is None and (purpose is not ANSWER or bool(_CONTEXT_VARIABLES & values.keys()))
    return Prompted(query, purpose, boilerplate, overrides)


def _purpose(prompt_type: str, variables: AbstractSet[str]) -> Purpose:
    kind = getattr(prompt_type, "value", str(prompt_type))
    if kind == PromptType.REFINE.value:
        return REFINE
    if kind in {answer.value for answer in _ANSWER_TYPES}:
        return ANSWER
    if kind != PromptType.CUSTOM.value:
        return _work(kind)
    if _WORK_VARIABLES & variables:
        return _work("custom")
    return REFINE if _REFINE_VARIABLES & variables else ANSWER


def find(
    messages: Sequence[Message],
    prompted: Prompted | None,
    *,
    given: str | None = None,
    extractor: QueryExtractor | None = None,
) -> tuple[Key, Purpose]:
    """The key and the purpose of a call. The first rung of the ladder that knows the question gives the key."""
    text = next((message.text for message in reversed(messages) if message.role == "user"), "")
    known = recognise(text)
    # Evaluators send their own prompts through a query engine's "answer" prompts: the text knows better.
    if known is not None and (prompted is None or known.purpose.task):
        purpose = known.purpose
    else:
        purpose = prompted.purpose if prompted else ANSWER
    return _key(messages, prompted, known, given, extractor), purpose


def _key(
    messages: Sequence[Message],
    prompted: Prompted | None,
    known: Prompted | None,
    given: str | None,
    extractor: QueryExtractor | None,
) -> Key:
    if given is not None:
        return Key(given, "given")
    if (ambient := ambient_query()) is not None:
        return Key(ambient, "query_block")
    if prompted is not None and prompted.query is not None:
        return Key(prompted.query, "template_variable")
    if extractor is not None:
        natives = [message.native for message in messages if isinstance(message.native, ChatMessage)]
        if (extracted := extractor(natives)) is not None:
            return Key(extracted, "query_extractor")
    if known is not None:
        return Key(known.query, "template" if known.query else "none")
    if prompted is not None and prompted.boilerplate:
        return Key(None, "none")
    return last_question(messages)


_VARIABLE = re.compile(r"\{(\w+)\}")
_REACT_TOOL = re.compile(r"^> Tool Name: (.+)$", re.MULTILINE)
_SELECT, _CONDENSE, _EVALUATE, _REWRITE = map(_work, ("select", "condense", "evaluate", "rewrite"))
_TEMPLATES: Sequence[tuple[Purpose, str, Sequence[str]]] = (
    (ANSWER, "prompts.default_prompts", ("DEFAULT_TEXT_QA_PROMPT_TMPL", "DEFAULT_TREE_SUMMARIZE_TMPL")),
    (REFINE, "prompts.default_prompts", ("DEFAULT_REFINE_PROMPT_TMPL",)),
    (REFINE, "prompts.chat_prompts", ("CHAT_REFINE_PROMPT",)),
    (_SELECT, "selectors.prompts", ("DEFAULT_SINGLE_PYD_SELECT_PROMPT_TMPL", "DEFAULT_MULTI_PYD_SELECT_PROMPT_TMPL")),
    (_SELECT, "selectors.prompts", ("DEFAULT_SINGLE_SELECT_PROMPT_TMPL", "DEFAULT_MULTI_SELECT_PROMPT_TMPL")),
    (_CONDENSE, "chat_engine.condense_plus_context", ("DEFAULT_CONDENSE_PROMPT_TEMPLATE",)),
    (_CONDENSE, "chat_engine.condense_question", ("DEFAULT_TEMPLATE",)),
    (_REWRITE, "retrievers.fusion_retriever", ("QUERY_GEN_PROMPT",)),
    (
        _EVALUATE,
        "evaluation.faithfulness",
        ("DEFAULT_EVAL_TEMPLATE", "DEFAULT_REFINE_TEMPLATE", "LLAMA3_8B_EVAL_TEMPLATE"),
    ),
    (_EVALUATE, "evaluation.relevancy", ("DEFAULT_EVAL_TEMPLATE", "DEFAULT_REFINE_TEMPLATE")),
    (_EVALUATE, "evaluation.context_relevancy", ("DEFAULT_EVAL_TEMPLATE", "DEFAULT_REFINE_TEMPLATE")),
    (_EVALUATE, "evaluation.answer_relevancy", ("DEFAULT_EVAL_TEMPLATE",)),
    (_EVALUATE, "evaluation.guideline", ("DEFAULT_EVAL_TEMPLATE",)),
    (_EVALUATE, "evaluation.correctness", ("DEFAULT_USER_TEMPLATE",)),
    (_EVALUATE, "evaluation.pairwise", ("DEFAULT_USER_TEMPLATE",)),
)


@dataclass(frozen=True, slots=True)
class _Known:
    """A template of the framework, cut at its variables: `variables[i]` stands behind `literals[i]`."""

    literals: tuple[str, ...]
    variables: tuple[str, ...]
    purpose: Purpose

    def match(self, text: str) -> Prompted | None:
        """What the template was filled in with, if it made the start of `text`. Linear in the length of `text`."""
        if not text.startswith(self.literals[0]):
            return None
        places = [len(text)]  # of the literals, from the end: what may hold anything (context) mostly comes first
        for literal in reversed(self.literals[1:]):
            places.append(text.rfind(literal, len(self.literals[0]), places[-1]))
            if places[-1] < 0:
                return None
        ends = places[:0:-1]
        starts = [0, *ends]
        values = {
            name: text[start + len(literal) : end]
            for name, literal, start, end in zip(self.variables, self.literals, starts, ends, strict=False)
        }
        return Prompted(next((values[name] for name in _QUERY_VARIABLES if name in values), None), self.purpose)


@cache
def _known() -> tuple[_Known, ...]:
    return tuple(_cut(text, purpose) for purpose, module, names in _TEMPLATES for text in _texts(module, names))


def _texts(module: str, names: Sequence[str]) -> Iterator[str]:
    """The templates' texts. One that this version of the framework does not have is left out."""
    found = importlib.import_module(f"llama_index.core.{module}")
    for name in names:
        template = getattr(found, name, None)
        if isinstance(template, ChatPromptTemplate):
            yield template.message_templates[-1].content or ""
        elif isinstance(template, PromptTemplate):
            yield template.template
        elif isinstance(template, str):
            yield template


def _cut(text: str, purpose: Purpose) -> _Known:
    parts = _VARIABLE.split(text)
    return _Known(tuple(parts[::2]), tuple(parts[1::2]), purpose)


def recognise(text: str) -> Prompted | None:
    """What made `text`, if it was one of the framework's own templates."""
    return next((found for known in _known() if (found := known.match(text))), None)


def react_tools(messages: Sequence[Message]) -> list[str]:
    """The tools of a ReAct agent, which tells the model of them in its system message; empty for any other call."""
    if not messages or messages[0].role != "system" or "Action Input:" not in messages[0].text:
        return []
    return _REACT_TOOL.findall(messages[0].text) or ["react"]
