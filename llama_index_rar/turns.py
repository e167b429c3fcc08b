"""Turns: all calls that answer one question of the user stay with the model and the guide of the first.

LlamaIndex has no place on a message for a decision, so a turn is known by what was seen of it. That is the steps that
its model took, which come back in the next call, the conversation up to the question, and the run of the workflow.
Agents render their state into the question, trim what came before, and write some steps anew: each may be missing.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace

from llama_index.core.base.llms.types import ChatMessage

from llama_index_rar.messages import calls_of
from llama_index_rar.recent import digest
from rar.values import Message


def question_at(messages: Sequence[Message]) -> int | None:
    """Where the question is that the last message still belongs to; None where no user speaks.

    What a user's message follows in the middle of a tool loop (a reminder, a screenshot) is no new question.
    """
    at = _last(messages, "user", len(messages))
    while at is not None and _in_loop(messages, at):
        before = _last(messages, "user", at)
        if before is None:
            break
        at = before
    return at


def continues(messages: Sequence[Message]) -> bool:
    """Whether the call goes on with a turn that began before.

    It follows a tool's result, is an agent's last word, or goes on with what the model itself said.
    """
    if not messages:
        return False
    last = messages[-1]
    return last.role == "assistant" or _in_loop(messages, len(messages)) or _says_to_stop(last.text)


def asked(messages: Sequence[Message]) -> tuple[Message, ...]:
    """`messages` without what came after the question in its turn, and with the question as the user put it."""
    at = question_at(messages)
    if at is None:
        return tuple(messages)
    question = messages[at]
    plain = _unrendered(question.text)
    rest = () if continues(messages) else messages[at + 1 :]
    return (*messages[:at], question if plain == question.text else replace(question, text=plain), *rest)


def traces(messages: Sequence[Message], namespace: str) -> tuple[str, ...]:
    """Fingerprints by which the turn that `messages` go on with may be known, the most telling first."""
    at = question_at(messages)
    if at is None:
        return ()
    steps = [_step(message) for message in reversed(messages[at + 1 :]) if message.role == "assistant"]
    known = [step for step in steps if step]
    conversation, run = _conversation(messages[: at + 1]), _run()
    return (
        *(digest(namespace, conversation, step) for step in known),
        *(digest(namespace, step) for step in known),
        *_lasting(namespace, conversation, run),
    )


def left_by(messages: Sequence[Message], step: Message | None, namespace: str) -> tuple[str, ...]:
    """The fingerprints that a served call leaves, for the next one to be known by. `step` is what it returned."""
    at = question_at(messages)
    if at is None:
        return ()
    conversation, run = _conversation(messages[: at + 1]), _run()
    taken = _step(step) if step is not None else ""
    steps = (digest(namespace, conversation, taken), digest(namespace, taken)) if taken else ()
    return (*steps, *_lasting(namespace, conversation, run))


def _lasting(namespace: str, conversation: str, run: str | None) -> tuple[str, ...]:
    within_run = (digest(namespace, conversation, "run", run), digest(namespace, "run", run)) if run else ()
    return (*within_run[:1], digest(namespace, conversation), *within_run[1:])


def _last(messages: Sequence[Message], role: str, end: int) -> int | None:
    return next((i for i in range(end - 1, -1, -1) if messages[i].role == role), None)


def _in_loop(messages: Sequence[Message], at: int) -> bool:
    """Whether a tool's result, and no answer to it, stands before place `at`."""
    answered = _last(messages, "assistant", at)
    return any(message.role == "tool" for message in messages[0 if answered is None else answered + 1 : at])


def _conversation(messages: Sequence[Message]) -> str:
    """What was said up to the question, which an agent's retry puts there once more."""
    said: list[str] = []
    for message in messages:
        line = f"{message.role}\0{_unrendered(message.text).strip()}"
        if not said or said[-1] != line:
            said.append(line)
    return digest(*said)


def _step(message: Message) -> str:
    """What a model did; empty where it did nothing. The ids that providers give to tool calls make most unique."""
    native = message.native
    calls = calls_of(native) if isinstance(native, ChatMessage) else ()
    text = message.text.strip()
    if not text and not calls:
        return ""
    shown = [[call_id, call.name, call.arguments] for call_id, call in calls]
    return digest(text, json.dumps(shown, sort_keys=True, default=str))


def _prompt(name: str) -> str:
    """One of the framework's prompts for agents; empty where agents are not imported, or it has another name."""
    return str(getattr(sys.modules.get("llama_index.core.agent.workflow.prompts"), name, ""))


_STATE_PROMPT_PARTS = 3  # before the state, between it and the message, after that


def _says_to_stop(text: str) -> bool:
    start = _prompt("DEFAULT_EARLY_STOPPING_PROMPT").partition("{")[0]
    return bool(start) and text.startswith(start)


def _unrendered(text: str) -> str:
    """The user's message in the framework's own prompt for an agent's state; `text` itself where it is none."""
    parts = re.split(r"\{\w+\}", _prompt("DEFAULT_STATE_PROMPT"))
    if len(parts) != _STATE_PROMPT_PARTS or not text.startswith(parts[0]) or not text.endswith(parts[2]):
        return text
    _, found, message = text.rpartition(parts[1])
    return message[: len(message) - len(parts[2])] if found else text


def _run() -> str | None:
    """The run of a workflow that this call is made in, as far as the installed version tells."""
    runtime = sys.modules.get("workflows.plugins.basic")
    tell = getattr(runtime, "get_current_run_id", None)
    return tell() if tell is not None else None
