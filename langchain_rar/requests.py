"""A call in the engine's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.prompt_values import PromptValue

from langchain_rar import packing as packing  # noqa: PLC0414 - makes its messages known to lessons
from langchain_rar.forms import Form, task_of_call
from langchain_rar.messages import to_engine
from langchain_rar.ports import ARGUMENTS, FORM
from langchain_rar.turns import OpenTurn, turn_of
from rar.keys import Key, arguments_of
from rar.overrides import Overrides
from rar.values import STRONG, Message, Request, Route


def request_of(
    prompt: PromptValue,
    form: Form,
    arguments: Mapping[str, Any],
    given: Overrides,
    *,
    namespace: str,
    find: Callable[[tuple[Message, ...]], Key],
    decided: Callable[[OpenTurn], Mapping[str, Any]],
    only_strong: bool,
) -> Request:
    """What the engine is told of a call.

    Args:
        given: How the call is steered, with the conversation that it is part of.
        find: Finds the question in messages.
        decided: The decision that a turn began with; empty where it is not known.
        only_strong: Whether the strong model alone can take the form.
    """
    native = prompt.to_messages()
    messages = to_engine(native)
    key = find(messages)
    turn = turn_of(native, final=getattr(form, "final", ()))
    facts = {} if turn is None else decided(turn)
    sticky = Route(facts["model"]) if facts else None
    return Request(
        messages, key.text, key.source, namespace, task_of_call(form, arguments, key.work),
        {FORM: form, ARGUMENTS: arguments},
        force=STRONG if only_strong and given.force is None else given.force,
        sticky=sticky,
        sticky_guide=facts.get("guide_id"),
        # In the middle of a turn whose model is not known any more, the last question is an old one.
        learn=given.learn is not False and not only_strong and (turn is None or sticky is not None),
        context=key.use(messages),
        user=given.user,
        thread=given.thread,
        limits=given.limits,
        source="langchain",
        arguments=arguments_of(arguments),
    )  # fmt: skip
