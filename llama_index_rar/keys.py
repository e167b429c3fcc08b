"""The key in LlamaIndex: the user's own question, what the call does with it, and whether that is learned.

Only what answers the user shares one memory. A step that a framework takes on the way (selecting, rephrasing, ranking)
has a task of its own, and nothing is learned from it where its result hangs on more than the question. The framework's
own prompts are known by name (`llama_index_rar.prompts`), a user's by type, variables and wording.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeAlias

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.output_parsers.pydantic import PYDANTIC_FORMAT_TMPL
from llama_index.core.output_parsers.selection import FORMAT_STR
from llama_index.core.prompts import (
    BasePromptTemplate,
    ChatPromptTemplate,
    PromptType,
    RichPromptTemplate,
    SelectorPromptTemplate,
)
from llama_index.core.schema import QueryBundle

from llama_index_rar.filled import Filled
from llama_index_rar.prompts import ANSWER, QUERY_VARIABLES, REFINE, Purpose, Recognised, own_work, recognise
from rar.followups import digest
from rar.keys import Key, ambient_query, extracted, given_query, known_question, last_question
from rar.values import Message
from rar.work import label_of

QueryExtractor: TypeAlias = Callable[[Sequence[ChatMessage]], str | None]

_CONTEXT_VARIABLES = {
    "context_str", "context_msg", "context_messages", "context", "context_list", "retrieved_context", "documents",
    "text",
}  # fmt: skip
_HISTORY_VARIABLES = ("chat_history", "chat_history_str", "history", "conversation", "conversation_history")
_REFINE_VARIABLES = {"existing_answer"}
# Prompts with these are about an answer that was given, so that their verdict is no verdict about the question.
_REVIEW_VARIABLES = {
    "generated_answer", "reference_answer", "response", "answer", "answer_1", "answer_2", "second_answer",
    "reference_contexts", "guidelines", "feedback",
}  # fmt: skip
_MATERIAL = _CONTEXT_VARIABLES | _REVIEW_VARIABLES
# What only one kind of the framework's components fills in tells the work, whatever words a user gave the template.
_TELLING: Sequence[tuple[Purpose, AbstractSet[str]]] = (
    (ANSWER, {"sql_query", "sql_response_str", "kg_response_str", "json_path_value", "query_engine_response_str"}),
    (own_work("select"), {"num_choices", "context_list", "max_outputs", "branching_factor", "num_chunks"}),
    (own_work("query"), {"dialect", "table_schema", "schema_str", "info_str"}),
    (own_work("extract"), {"max_knowledge_triplets", "max_triplets_per_chunk", "existing_facts", "class_name"}),
    (own_work("expand"), {"num_queries", "max_keywords"}),
    (own_work("decompose"), {"tools_str", "prev_reasoning"}),
)
_TYPES: Mapping[str, Purpose] = {
    kind.value: purpose
    for purpose, kinds in (
        (ANSWER, (PromptType.QUESTION_ANSWER, PromptType.SIMPLE_INPUT, PromptType.CONVERSATION, PromptType.SUMMARY)),
        (ANSWER, (PromptType.SQL_RESPONSE_SYNTHESIS, PromptType.SQL_RESPONSE_SYNTHESIS_V2)),
        (REFINE, (PromptType.REFINE,)),
        (own_work("select"), (PromptType.SINGLE_SELECT, PromptType.MULTI_SELECT, PromptType.TREE_INSERT)),
        (own_work("select"), (PromptType.TREE_SELECT, PromptType.TREE_SELECT_MULTIPLE)),
        (own_work("rank"), (PromptType.CHOICE_SELECT, PromptType.RANKGPT_RERANK)),
        (own_work("query"), (PromptType.TEXT_TO_SQL, PromptType.TEXT_TO_GRAPH_QUERY, PromptType.PANDAS)),
        (own_work("query"), (PromptType.JSON_PATH, PromptType.VECTOR_STORE_QUERY)),
        (own_work("expand"), (PromptType.QUERY_KEYWORD_EXTRACT,)),
        (own_work("extract"), (PromptType.KEYWORD_EXTRACT, PromptType.SCHEMA_EXTRACT)),
        (own_work("extract"), (PromptType.KNOWLEDGE_TRIPLET_EXTRACT,)),
        (own_work("summarise"), (PromptType.TABLE_CONTEXT,)),
        (own_work("decompose"), (PromptType.SUB_QUESTION, PromptType.DECOMPOSE)),
    )
    for kind in kinds
}
_NO_MEDIA = {"text", "thinking", "tool_call", "cache", "citation"}
_BOUND_WORKS = {"rank", "select", "evaluate"}  # their verdict hangs on all that was chosen from


# --- what a template tells ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prompted:
    """What was known about a prompt when its template was filled in.

    Args:
        query: The user's query, if a variable held it.
        purpose: None where the template does not tell, so that the text must.
        boilerplate: The text is nothing but context and instructions, and must not be taken for a question.
        history: The conversation before a query that is to be answered, if a variable held it.
        filled: The template itself and what it was filled in with.
    """

    query: str | None = None
    purpose: Purpose | None = None
    boilerplate: bool = False
    history: str = ""
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
    for name, mapped in (prompt.template_var_mappings or {}).items():
        if mapped in values:
            values.setdefault(name, values[mapped])
    query = next((text for name in QUERY_VARIABLES if (text := _text(values.get(name))) is not None), None)
    purpose = _purpose(prompt, values.keys(), asks=query is not None)
    history = next((text for name in _HISTORY_VARIABLES if (text := _text(values.get(name)))), "")
    boilerplate = query is None and (purpose not in {ANSWER, None} or not _MATERIAL.isdisjoint(values))
    return Prompted(query, purpose, boilerplate, history if purpose is ANSWER else "", overrides)


def _text(value: Any) -> str | None:
    """What a variable says: people fill in queries, messages and lists of these too."""
    if isinstance(value, QueryBundle):
        return value.query_str
    if isinstance(value, ChatMessage):
        return value.content
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return "\n".join(text for item in value if (text := _text(item))) or None
    return value if isinstance(value, str) else None


def _purpose(prompt: BasePromptTemplate, variables: AbstractSet[str], *, asks: bool) -> Purpose | None:
    kind = prompt.metadata.get("prompt_type", PromptType.CUSTOM)
    kind = getattr(kind, "value", str(kind))
    if kind == PromptType.SUMMARY.value and not asks:
        return own_work("summarise")
    if kind != PromptType.CUSTOM.value:
        return _TYPES.get(kind, own_work(f"other:{kind}"))
    told = next((purpose for purpose, names in _TELLING if not names.isdisjoint(variables)), None)
    if told is not None:
        return told
    if not asks and _MATERIAL.isdisjoint(variables):
        return None  # all that it says is in the text
    purpose = _purpose_by_words(_instructions(prompt), variables)
    return purpose if asks else replace(purpose, learn=False)


def _purpose_by_words(instructions: str, variables: AbstractSet[str]) -> Purpose:
    """What a template that no table knows is for."""
    with_context = not _CONTEXT_VARIABLES.isdisjoint(variables)
    work = _label(instructions) if with_context else _named(instructions)
    if not _REFINE_VARIABLES.isdisjoint(variables):
        return REFINE if work == "answer" else own_work(work)
    if not _REVIEW_VARIABLES.isdisjoint(variables):
        return own_work("evaluate" if work == "answer" else work)
    if work == "answer":
        return ANSWER
    by_material = with_context and not work.startswith("other")
    bound = by_material or work in _BOUND_WORKS or not variables.isdisjoint(_HISTORY_VARIABLES)
    return Purpose(work, learn=not bound)


_label = lru_cache(maxsize=256)(label_of)  # a template's words are the same call by call


@lru_cache(maxsize=256)
def _named(instructions: str) -> str:
    """The work that a template of only a question orders; one of its own where its words do not ask for an answer.

    Its key is but a variable, so that "Write a poem about {query}" must not share what is learned of questions.
    """
    work = _label(instructions)
    if work != "answer" or _ANSWERS.search(instructions):
        return work
    words = " ".join(word for word in _MANNERS.sub(" ", instructions).split() if word.isalpha())
    return f"other:{digest(words.lower())}" if words else work


def _instructions(prompt: BasePromptTemplate) -> str:
    """The developer's own words in a template: neither what is filled in nor the conversation before its end."""
    if isinstance(prompt, SelectorPromptTemplate):
        return _instructions(prompt.default_template)
    if isinstance(prompt, ChatPromptTemplate):
        *before, last = prompt.message_templates
        texts = [message.content or "" for message in before if message.role in {"system", "developer"}]
        return _without_variables("\n\n".join([*texts, last.content or ""]))
    return _without_variables(prompt.template_str if isinstance(prompt, RichPromptTemplate) else prompt.get_template())


# Words by which a template asks for an answer, in some languages; and what asks for nothing: labels, roles, manners.
_ANSWERS = re.compile(
    r"\b(?:answer|respond|respons|repl(?:y|ies)\b|assist|help|explain|antwort|beantwort|répon|respu|rispo|respost|odpow"
    r"|antwoord|ответ|відпов)|回答|回复|答|응답|대답|답변|उत्तर|جواب|أجب",
    re.IGNORECASE,
)
_MANNERS = re.compile(
    r"^\W{0,12}\w{1,24}(?: \w{1,24})?[:：]|<[^<>\n]{0,60}>"
    r"|^[^\n:]{0,40}\b(?:context|information|documents?|sources?|passages?|chunks?|history|conversation)\b[^\n:]{0,30}:"
    r"|\b(?:you are|you're|act as|today|the (?:current )?date|be|please be|always|never|do not|don't|if|use|keep|think"
    r"|speak|write in)\b[^.!?\n]*",
    re.IGNORECASE | re.MULTILINE,
)
_VARIABLE = re.compile(r"\{\{[^{}]*\}\}|\{%[^%]*%\}|\{[A-Za-z_][\w.]*\}")


@lru_cache(maxsize=256)
def _without_variables(template: str) -> str:
    return _VARIABLE.sub(" ", template)


# --- the ladder ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a call.

    Args:
        format: What an output parser appended to the prompt to say how the answer is to be written; None for free text.
    """

    key: Key
    purpose: Purpose
    format: str | None = None


def find(
    messages: Sequence[Message],
    prompted: Prompted | None,
    *,
    given: str | None = None,
    extractor: QueryExtractor | None = None,
    has_tools: bool = False,
) -> Found:
    """The key and the purpose of a call. The first rung of the ladder that knows the question gives the key.

    Args:
        has_tools: Whether the call brings tools, which then tell its task better than an agent's long instructions.
    """
    at = max((i for i, message in enumerate(messages) if message.role == "user"), default=len(messages))
    said = [_said(message) for message in messages[:at]]
    text, format = _formatted(_without_memory(messages[at].text)) if at < len(messages) else ("", None)
    if at < len(messages):
        said.append(replace(messages[at], text=text))
    known = _recognised(text, messages, prompted)
    key = _key(said, prompted, known, given, extractor)
    is_agent = has_tools or bool(agent_tools(messages))
    purpose = _told(prompted, known) or (ANSWER if is_agent else _worded(key))
    return Found(key, purpose, format)


def _recognised(text: str, messages: Sequence[Message], prompted: Prompted | None) -> Recognised | None:
    """The framework's prompt in a call: its last user message, the query in that, or a system message beside it."""
    known = recognise(text) or (_stated(text) if prompted is None else None)
    query = prompted.query if prompted is not None and prompted.query is not None else known.query if known else None
    if query is not None and (inner := recognise(query)) is not None:
        if known is not None and (known.purpose.work != "answer" or inner.purpose is ANSWER):
            return replace(known, query=inner.query)
        return inner
    if known is not None:
        return known
    beside = (recognise(message.text) for message in messages if message.role == "system")
    return next((replace(found, query=None) for found in beside if found is not None), None)


def _said(message: Message) -> Message:
    """What a user said, out of the prompt that the framework put around it."""
    if message.role not in {"user", "system"}:
        return message
    text = _without_memory(message.text)
    known = recognise(text) or _stated(text) if message.role == "user" else None
    return replace(message, text=known.query if known is not None and known.query is not None else text)


def _told(prompted: Prompted | None, known: Recognised | None) -> Purpose | None:
    """What the template, or the text that it made, is known to be for."""
    told = None if prompted is None else prompted.purpose
    # The text knows better: evaluators send their own prompts through a query engine's "answer" prompts. But how a
    # draft is refined may be put like the prompt that made it.
    return told if known is None or (known.purpose is ANSWER and told is REFINE) else known.purpose


def _worded(key: Key) -> Purpose:
    """What a call is for by the developer's words around its question."""
    return Purpose(key.work, learn=key.work not in _BOUND_WORKS)


def _key(
    messages: Sequence[Message],
    prompted: Prompted | None,
    known: Recognised | None,
    given: str | None,
    extractor: QueryExtractor | None,
) -> Key:
    if (query := given_query(given)) is not None:
        return known_question(Key(query, "given"), messages)
    if (ambient := ambient_query()) is not None:
        return known_question(Key(ambient, "query_block"), messages)
    if known is not None and not known.asks:
        return Key(None, "none")
    if prompted is not None and prompted.query is not None:
        inner = recognise(prompted.query)
        query = inner.query if inner is not None and inner.query is not None else prompted.query
        return _in_conversation(query, "template_variable", messages, prompted, known)
    if extractor is not None:
        natives = [message.native for message in messages if isinstance(message.native, ChatMessage)]
        if (found := extracted(extractor, natives)) is not None:
            return known_question(Key(found, "query_extractor"), messages, attached)
    if known is not None and known.query is not None:
        return _in_conversation(known.query, "template", messages, prompted, known)
    if prompted is not None and prompted.boilerplate:
        return Key(None, "none")
    return last_question(messages, attached)


def _in_conversation(
    query: str, source: str, messages: Sequence[Message], prompted: Prompted | None, known: Recognised | None
) -> Key:
    """`query` as the last turn of its conversation, which the answer to a short one hangs on."""
    if (_told(prompted, known) or ANSWER).work != "answer":
        return Key(query, source)
    *before, last = messages if messages and messages[-1].role == "user" else [*messages, Message("user", query)]
    if prompted is not None and prompted.history:
        before.append(Message("assistant", prompted.history))
    # What is attached to a filled-in prompt was retrieved, like its context.
    native = last.native if last.text.strip() == query.strip() else None
    key = last_question([*before, Message("user", query, native)], attached)
    if not key.source.startswith("last_user_message"):  # a user's words that look like a template are not taken apart
        return Key(query, source)
    return replace(key, source=key.source.replace("last_user_message", source))


def attached(message: Message) -> str:
    """A digest of what a message holds beside its text: images, audio, video, files. Empty where that is nothing."""
    blocks = message.native.blocks if isinstance(message.native, ChatMessage) else ()
    held = [value for block in blocks if block.block_type not in _NO_MEDIA for _, value in block]
    return (
        digest(*(value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in held)) if held else ""
    )


def _stated(text: str) -> Recognised | None:
    """A user's message beside an agent's state."""
    if _STATE.search(text, 0, _STATE_WITHIN) is None:
        return None
    labels = list(_MESSAGE.finditer(text))
    return Recognised(ANSWER, True, text[labels[-1].end() :].strip() or None) if labels else None


def _without_memory(text: str) -> str:
    """A message without what the framework's memory put before it."""
    start, end = text.find(_MEMORY[0]), text.rfind(_MEMORY[1])
    return text if start < 0 or end < start else f"{text[:start]}{text[end + len(_MEMORY[1]) :]}".strip()


# --- agents and output parsers --------------------------------------------------------------------------------------

# How what an output parser appends begins; LangChain's are used in LlamaIndex too.
_FORMATS = (
    PYDANTIC_FORMAT_TMPL.partition("{")[0].strip(),
    FORMAT_STR.partition("\n")[0],
    "The output should be formatted as a JSON instance that conforms to the JSON schema below.",
)
# A custom `state_prompt` mostly reads like the framework's: "Current state: {'visits': 0}. User message: …".
_STATE = re.compile(r"\bstate\b[^\n{]{0,40}\s{0,4}\{", re.IGNORECASE)
_MESSAGE = re.compile(
    r"\b(?:message|msg|request|question|query|input|user|human|task)\b[^\n:{}'\"]{0,24}:(?=\s)", re.IGNORECASE
)
# The marks of a chat model's own format, by which some write prompts for `complete`.
_MARKS = re.compile(r"\[/?INST\]|<</?SYS>>|</?s>|<\|[\w ]{1,30}\|>")
_MEMORY = ("<memory>", "</memory>")
_STATE_WITHIN = 120  # characters at the start of a prompt that holds an agent's state
_REACT_TOOL = re.compile(r"^> Tool Name: (.+)$", re.MULTILINE)
_CODE_TOOL = re.compile(r"^(?:async )?def (\w+)\(", re.MULTILINE)


def _formatted(text: str) -> tuple[str, str | None]:
    """A prompt without what an output parser appended to it, and that; None where there is nothing of the kind."""
    if "[INST]" in text or "<|" in text:
        text = _MARKS.sub("", text).strip()
    at = max(text.rfind(opening) for opening in _FORMATS)
    return (text[:at].rstrip(), text[at:]) if at > 0 else (text, None)


def agent_tools(messages: Sequence[Message]) -> list[str]:
    """The tools of an agent that tells the model of them in its system message; empty for any other call."""
    text = messages[0].text if messages and messages[0].role == "system" else ""
    if "Action Input:" in text:
        return _REACT_TOOL.findall(text) or ["react"]
    if "<execute>" in text:
        return ["execute", *_CODE_TOOL.findall(text)]
    return []
