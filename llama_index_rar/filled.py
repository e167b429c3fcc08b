"""Prompts as the model that is asked would make them in its own `predict`.

A model's system prompt, output parser and wrappers (`completion_to_prompt`, `query_wrapper_prompt`, …) belong to it, so
that they apply once it is known who answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms.generic_utils import messages_to_prompt
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.llms.llm import LLM, default_completion_to_prompt
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate, RichPromptTemplate, SelectorPromptTemplate

from llama_index_rar.messages import as_prompt


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """A template that was filled in for the router.

    Args:
        template: None where the router has wrappers of its own, so that its prompt is text in any case.
        values: What the template's variables were given.
        messages: What came of it.
        router: Whose own settings apply first.
    """

    template: BasePromptTemplate | None
    values: Mapping[str, Any]
    messages: Sequence[ChatMessage]
    router: LLM

    def messages_for(self, child: LLM) -> list[ChatMessage]:
        """The template's messages; filled in again where it has other words for `child` than for the router."""
        chosen = _chosen(self.template, child)
        if chosen is None or chosen is _chosen(self.template, self.router):
            return list(self.messages)
        return extended(chosen.format_messages(llm=child, **self.values), self.router)

    def text_for(self, child: LLM, messages: Sequence[ChatMessage]) -> str:
        """The prompt of a `child` that completes text."""
        template = _chosen(self.template, child)
        if template is None or isinstance(template, PromptTemplate):
            text = _call(child.completion_to_prompt, as_prompt(messages))
        elif isinstance(template, RichPromptTemplate) and not template.is_chat_template:
            text = as_prompt(messages)
        else:
            text = _call(child.messages_to_prompt, messages)
        if child.output_parser is not None:
            text = child.output_parser.format(text)
        return child._extend_prompt(text)  # noqa: SLF001 - as its own `predict` does


def _call(wrapper: Callable[[Any], str] | None, value: Any) -> str:
    assert wrapper is not None  # the framework's own validator has put a default there
    return wrapper(value)


def _chosen(template: BasePromptTemplate | None, llm: LLM) -> BasePromptTemplate | None:
    return template.select(llm) if isinstance(template, SelectorPromptTemplate) else template


def wraps_prompts(llm: LLM) -> bool:
    """Whether `llm` was set to make another text of prompts than the framework does."""
    made_by: list[Any] = [llm.completion_to_prompt, llm.messages_to_prompt]
    return llm.query_wrapper_prompt is not None or made_by != [default_completion_to_prompt, messages_to_prompt]


def extended(messages: list[ChatMessage], llm: LLM) -> list[ChatMessage]:
    """`messages` with what the `predict` of an `llm` that chats adds to them."""
    if llm.output_parser is not None and messages:
        # It writes into the first or the last one.
        ends = {0, len(messages) - 1}
        copies = [m.model_copy(deep=True) if i in ends else m for i, m in enumerate(messages)]
        messages = llm.output_parser.format_messages(copies)
    return llm._extend_messages(messages)  # noqa: SLF001 - as its own `predict` does


def parsed(child: LLM, response: Any) -> Any:
    """`response` with its text as the child's own output parser, if any, gives it on.

    Raises:
        Exception: What the parser raises on a text that it cannot read.
    """
    if child.output_parser is None:
        return response
    if isinstance(response, ChatResponse):
        text = str(child.output_parser.parse(response.message.content or ""))
        message = ChatMessage(text, role=response.message.role, additional_kwargs=response.message.additional_kwargs)
        return response.model_copy(update={"message": message})
    assert isinstance(response, CompletionResponse)
    return response.model_copy(update={"text": str(child.output_parser.parse(response.text))})
