"""LangChain's ladder of places where the user's question may be known; the first that knows it wins."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tracers.context import register_configure_hook

from langchain_rar.prompts import without_examples
from rar.followups import digest
from rar.keys import Key, ambient_query, extracted, given_query, known_question, last_question
from rar.values import Message

QueryExtractor = Callable[[Sequence[BaseMessage]], "str | None"]


def find_key(
    prompt: PromptValue,
    messages: Sequence[Message],
    *,
    given: str | None = None,
    root: UUID | None = None,
    extractor: QueryExtractor | None = None,
) -> Key:
    """The question that a prompt was built around.

    Args:
        prompt: As the chain before the router made it.
        messages: The same, in the engine's words.
        given: What the caller said it is.
        root: A run of the chain that we are in, for questions that `QueryRecorder` has seen.
        extractor: The user's own rule; None from it means that it does not know.
    """
    if (query := given_query(given)) is not None:
        return known_question(Key(query, "given"), messages)
    if (around := ambient_query()) is not None:
        return known_question(Key(around, "query_block"), messages)
    if isinstance(prompt, TaggedPrompt):
        return known_question(Key(prompt.question, "tagged_prompt"), messages, attached)
    if root is not None and (seen := recorder.question(root)) is not None:
        return known_question(Key(seen, "recorded"), messages, attached)
    if extractor is not None and (found := extracted(extractor, [message.native for message in messages])):
        return known_question(Key(found, "query_extractor"), messages, attached)
    return last_question([*map(_own_words, messages)], attached)


def _own_words(message: Message) -> Message:
    return replace(message, text=without_examples(message.text)) if message.role == "user" else message


def attached(message: Message) -> str:
    """A digest of what a message holds beside its text: images, audio, files. Empty where that is nothing."""
    content = getattr(message.native, "content", None)
    if not isinstance(content, list):
        return ""
    blocks = [block for block in content if isinstance(block, Mapping) and block.get("type") not in _NO_ATTACHMENT]
    return digest(*(json.dumps(_lasting(block), sort_keys=True, default=str) for block in blocks)) if blocks else ""


def _lasting(block: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name not in {"id", "index", "cache_control", "extras"}}


_NO_ATTACHMENT = frozenset(
    {"text", "thinking", "redacted_thinking", "reasoning", "refusal", "tool_use", "tool_call", "tool_result"}
    | {"server_tool_call", "server_tool_result", "function_call"}
)


class TaggedPrompt(ChatPromptValue):
    """A prompt that knows the question it was built around."""

    question: str


class _TaggingPrompt(Runnable[Any, PromptValue]):
    def __init__(self, prompt: Runnable[Any, PromptValue], var: str) -> None:
        self.prompt, self.var = prompt, var

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> PromptValue:
        return self._tagged(input, self.prompt.invoke(input, config, **kwargs))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> PromptValue:
        return self._tagged(input, await self.prompt.ainvoke(input, config, **kwargs))

    def _tagged(self, input: Any, value: PromptValue) -> PromptValue:
        question = input.get(self.var) if isinstance(input, Mapping) else input
        return TaggedPrompt(messages=value.to_messages(), question=question) if isinstance(question, str) else value


def tag_query(prompt: Runnable[Any, PromptValue], var: str = "question") -> Runnable[Any, PromptValue]:
    """Wrap a prompt to name the variable that holds the user's question.

        chain = tag_query(prompt, "question") | RouterChatModel(...) | StrOutputParser()

    Args:
        prompt: A prompt template, or anything that makes a prompt.
        var: The variable that holds the question. Where it holds no string, nothing is tagged.
    """
    return _TaggingPrompt(prompt, var)


class QueryRecorder(BaseCallbackHandler):
    """Remembers, for each chain that runs, what it was asked and what its retriever was asked for.

    It sees every LangChain run of the process from `start` on, so it is off until a router asks for it.
    """

    run_inline = True
    _QUESTIONS = ("question", "query", "input")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._roots: dict[UUID, UUID] = {}
        self._asked: dict[UUID, str] = {}
        self._started = False

    def start(self) -> None:
        """Attach to every run from now on."""
        with self._lock:
            if not self._started:
                self._started = True
                register_configure_hook(ContextVar("rar_recorder", default=self), inheritable=True)

    def question(self, run_id: UUID) -> str | None:
        """The question of the chain that the run belongs to."""
        return self._asked.get(self._roots.get(run_id, run_id))

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        if parent_run_id is not None:
            self._roots[run_id] = self._roots.get(parent_run_id, parent_run_id)
            return
        asked = (
            next((inputs[name] for name in self._QUESTIONS if name in inputs), None)
            if isinstance(inputs, Mapping)
            else inputs
        )
        if isinstance(asked, str):
            self._asked[run_id] = asked

    def on_retriever_start(
        self,
        serialized: dict[str, Any],
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        if parent_run_id is not None:
            self._asked.setdefault(self._roots.get(parent_run_id, parent_run_id), query)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._roots.pop(run_id, None)
        self._asked.pop(run_id, None)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._roots.pop(run_id, None)
        self._asked.pop(run_id, None)


recorder = QueryRecorder()
