"""Pure maps between the JSON of OpenAI's chat completions and the engine's values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from rar.endings import finish_of, logprobs_of
from rar.followups import digest
from rar.injection import messages_of
from rar.keys import Key, arguments_of, known_question, last_question, named_tool, task_of, with_work
from rar.overrides import Overrides
from rar.sampling import Sampling, accepted
from rar.tokens import reported
from rar.values import Call, Message, Reply, Request, Role, Route, ToolCall

Json: TypeAlias = dict[str, Any]

BODY: Final = "body"  # the key in `Request.options` of what the client sent
# What is no argument of the call that a model is asked to answer.
_OURS: Final = ("messages", "model", "stream", "stream_options", "rar")
_NO_ARGUMENT: Final = (*_OURS, "user", "safety_identifier", "metadata", "store", "prompt_cache_key", "service_tier")
_ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
    "function": "tool",
}  # fmt: skip
_TEXTS = ("text", "input_text", "output_text")


# ── what a client asks ──


def to_engine(messages: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    """The engine's view of messages, each of which is kept as it is."""
    return tuple(Message(_ROLES.get(str(one.get("role")), "user"), text_of(one), one) for one in messages)


def text_of(message: Mapping[str, Any]) -> str:
    """A message's text, of all its parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = (part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") in _TEXTS)
    return "".join(text for text in texts if isinstance(text, str))


def attached(message: Message) -> str:
    """A digest of what a message holds beside its text: images, audio, files. Empty where that is nothing."""
    content = message.native.get("content") if isinstance(message.native, Mapping) else None
    parts = content if isinstance(content, list) else ()
    others = [part for part in parts if not (isinstance(part, Mapping) and part.get("type") in (*_TEXTS, "refusal"))]
    return digest(*(json.dumps(part, sort_keys=True, default=str) for part in others)) if others else ""


def request_of(
    body: Json, given: Overrides, namespace: str, sticky: Route | None, guide_id: str | None, force: str | None
) -> Request:
    """What the engine is told of a call.

    Args:
        body: As the client sent it, checked.
        sticky: How the turn began that the call goes on with, and `guide_id` its guide; None where it is not known.
        force: Name of the model that the client asks for.
    """
    messages = to_engine(body["messages"])
    key = known_question(Key(given.query, "given"), messages) if given.query else last_question(messages, attached)
    arguments = {name: value for name, value in body.items() if name not in _NO_ARGUMENT and value is not None}
    one_answer = body.get("n") in (None, 1)
    in_turn = bool(calls_answered(body["messages"]))
    return Request(
        messages, key.text, key.source, namespace, _task_of(body, key.work), {BODY: body},
        force=given.force or force,
        sticky=sticky,
        sticky_guide=guide_id,
        # In the middle of a turn that is not known, the last question is an old one.
        learn=given.learn is not False and one_answer and (not in_turn or sticky is not None),
        context=key.use(messages),
        user=given.user or _name(body.get("safety_identifier")) or _name(body.get("user")),
        thread=given.thread,
        source="server",
        arguments=arguments_of(arguments),
    )  # fmt: skip


def calls_answered(messages: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Ids of the tool calls whose results end a conversation: empty where it ends with a question."""
    ids = []
    for message in reversed(messages):
        if _ROLES.get(str(message.get("role"))) != "tool":
            break
        ids.append(str(message.get("tool_call_id") or message.get("name") or ""))
    return tuple(ids)


def _task_of(body: Json, work: str) -> str:
    """What a call wants. With tools to use, a model is an agent, whatever else its long instructions speak of."""
    wanted = body.get("response_format")
    schema = None if wanted is None or wanted == {"type": "text"} else wanted
    offered = [*(body.get("tools") or ()), *(body.get("functions") or ())]
    task = task_of(tools=[named_tool(tool) for tool in offered], schema=schema)
    return task if task.startswith("tools:") else with_work(task, work)


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


# ── what a model is sent ──


def body_of(call: Call, model: str, *, stream: bool = False) -> Json:
    """The body of a call to the model that its endpoint calls `model`."""
    body = {name: value for name, value in call.request.options.get(BODY, {}).items() if name not in _OURS}
    if call.purpose != "serve":
        body.pop("n", None)
    if call.sampling is not None:
        body |= _settings(accepted(call.sampling, model), body)
    body |= {"model": model, "messages": [_to_native(message) for message in messages_of(call)]}
    return {**body, "stream": True, "stream_options": {"include_usage": True}} if stream else body


def _settings(sampling: Sampling, body: Json) -> Json:
    settings: Json = {name: value for name, value in sampling.settings.items() if name != "timeout"}
    if "max_tokens" in settings and "max_completion_tokens" in body:
        settings["max_completion_tokens"] = settings.pop("max_tokens")
    return settings


def _to_native(message: Message) -> Mapping[str, Any]:
    """The message to send: the client's own, or a copy of it where the engine appended text."""
    native = message.native
    if not isinstance(native, Mapping):
        # The result of a tool is quoted to a model that never made the call.
        role = "user" if message.role == "tool" else message.role
        return {"role": role, "content": message.text + message.suffix}
    if not message.suffix:
        return native
    content = native.get("content")
    if isinstance(content, list):
        return {**native, "content": [*content, {"type": "text", "text": message.suffix.lstrip()}]}
    return {**native, "content": f"{content or ''}{message.suffix}"}


# ── what a model answers ──


def choice_of(completion: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first choice of a completion, or of a streamed piece of one; empty where there is none."""
    choices = completion.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, Mapping) else {}


def says_something(said: Mapping[str, Any]) -> bool:
    """Whether a message, or a piece of one, holds more than thoughts and blanks."""
    return bool(
        text_of(said).strip() or said.get("tool_calls") or said.get("function_call") or said.get("refusal")
        or said.get("audio")
    )  # fmt: skip


def reply_of(role: str, completion: Mapping[str, Any], model_id: str, seconds: float | None = None) -> Reply:
    """A whole completion as the engine's reply."""
    choice = choice_of(completion)
    message = choice.get("message") or {}
    calls = tuple(_tool_call(call.get("function") or {}) for call in message.get("tool_calls") or ())
    return Reply(
        role,
        text_of(message) or str(message.get("refusal") or ""),
        calls,
        reported((completion.get("usage"),)),
        model_id,
        completion,
        logprobs=logprobs_of(choice.get("logprobs")),
        finish=finish_of((choice,), called=bool(calls)),
        seconds=seconds,
    )


def _tool_call(function: Mapping[str, Any]) -> ToolCall:
    written = function.get("arguments")
    try:
        arguments = json.loads(written) if isinstance(written, str) else written
    except ValueError:
        arguments = None
    return ToolCall(str(function.get("name")), arguments if isinstance(arguments, dict) else {"written": written})


def tool_call_ids(completion: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids of the tool calls that a completion asks for."""
    message = choice_of(completion).get("message") or {}
    named = [str(call["id"]) for call in message.get("tool_calls") or () if call.get("id")]
    old = message.get("function_call")
    return (*named, str(old.get("name"))) if isinstance(old, Mapping) else tuple(named)


def completion_of(reply: Reply) -> Json:
    """A reply that there is, as a completion."""
    if isinstance(reply.native, Mapping):
        return dict(reply.native)
    calls = [
        {"id": f"call_{at}", "type": "function", "function": {"name": one.name, "arguments": json.dumps(one.arguments)}}
        for at, one in enumerate(reply.tool_calls)
    ]
    message = {"role": "assistant", "content": reply.text or None, **({"tool_calls": calls} if calls else {})}
    usage = {
        "prompt_tokens": reply.usage.input_tokens, "completion_tokens": reply.usage.output_tokens,
        "total_tokens": reply.usage.total,
    }  # fmt: skip
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else reply.finish or "stop"}
    return {"object": "chat.completion", "model": reply.model_id, "choices": [choice], "usage": usage}


# ── streams ──


def as_chunks(completion: Mapping[str, Any]) -> list[Json]:
    """A whole completion as the pieces of a stream."""
    choice = choice_of(completion)
    message = dict(choice.get("message") or {})
    if message.get("tool_calls"):
        message["tool_calls"] = [{"index": at, **call} for at, call in enumerate(message["tool_calls"])]
    frame = {name: completion[name] for name in ("id", "created", "model", "system_fingerprint") if name in completion}
    frame["object"] = "chat.completion.chunk"
    said = {"index": 0, "delta": message, "finish_reason": None}
    ended: Json = {"index": 0, "delta": {}, "finish_reason": choice.get("finish_reason")}
    usage = [{**frame, "choices": [], "usage": completion["usage"]}] if completion.get("usage") else []
    return [{**frame, "choices": [said]}, {**frame, "choices": [ended]}, *usage]


def merged(chunks: Iterable[Mapping[str, Any]]) -> Json:
    """The completion that the pieces of a stream are together, of their first choice."""
    whole: Json = {"object": "chat.completion"}
    message: Json = {"role": "assistant"}
    calls: dict[int, Json] = {}
    choice: Json = {"index": 0, "message": message}
    for chunk in chunks:
        whole |= {name: value for name, value in chunk.items() if name not in ("object", "choices") and value}
        for piece in (one for one in chunk.get("choices") or () if one.get("index") in (None, 0)):
            _add(message, calls, piece.get("delta") or {})
            if piece.get("finish_reason"):
                choice["finish_reason"] = piece["finish_reason"]
            if piece.get("logprobs"):
                known = choice.setdefault("logprobs", {"content": []})
                known["content"] += piece["logprobs"].get("content") or []
    if calls:
        message["tool_calls"] = [calls[at] for at in sorted(calls)]
    return {**whole, "choices": [choice]}


def _add(message: Json, calls: dict[int, Json], delta: Mapping[str, Any]) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            for place, piece in enumerate(value or ()):
                _add_call(calls.setdefault(piece.get("index", place), {"type": "function", "function": {}}), piece)
        elif isinstance(value, str) and name != "role":
            message[name] = f"{message.get(name) or ''}{value}"
        elif value is not None:
            message[name] = value


def _add_call(call: Json, piece: Mapping[str, Any]) -> None:
    call |= {name: piece[name] for name in ("id", "type") if piece.get(name)}
    for name, value in (piece.get("function") or {}).items():
        if isinstance(value, str):
            call["function"][name] = call["function"].get(name, "") + value
