"""What Langfuse, LiteLLM, OpenTelemetry and OpenAI-like logs say of a call, as recorded requests. Pure maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rar.errors import ImportFormatError, UnknownNameError
from rar.keys import last_question
from rar.logs.recorded import Recorded
from rar.values import Message, Role

Json = Mapping[str, Any]
_ROLES: Final[Mapping[str, Role]] = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
    "ai": "assistant", "model": "assistant", "tool": "tool", "function": "tool",
}  # fmt: skip


def read_log(form: str, file: Path) -> Iterator[Recorded]:
    """The calls of chat models in a log, as far as they can be read; others are passed over.

    Args:
        form: A name of `FORMATS`.
        file: JSON Lines, or one JSON value.

    Raises:
        UnknownNameError: There is no such form.
        ImportFormatError: It is no JSON.
    """
    if form not in FORMATS:
        raise UnknownNameError("format", form, tuple(FORMATS))
    read = FORMATS[form]
    for record in _records(file):
        for found in read(record):
            if found is not None and found.text:
                yield found


def _records(file: Path) -> Iterator[Json]:
    text = file.read_text(encoding="utf-8")
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if whole is None:
        for place, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    yield from _several(json.loads(line))
                except ValueError as error:
                    raise ImportFormatError(str(file), f"line {place}: {error}") from None
        return
    yield from _several(whole)


def _several(value: Any) -> Iterator[Json]:
    """The records in a value: itself, or those of a list, or of the list that an export wraps in an object."""
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, Mapping))
    elif isinstance(value, Mapping):
        wrapped = next(
            (value[name] for name in ("data", "observations", "logs") if isinstance(value.get(name), list)), None
        )
        yield from [value] if wrapped is None else _several(wrapped)


# ── the forms ──


def _langfuse(record: Json) -> Iterator[Recorded | None]:
    if record.get("type") not in (None, "GENERATION"):
        return
    asked, usage = _parsed(record.get("input")), record.get("usageDetails") or record.get("usage") or {}
    costs = record.get("costDetails") or {}
    yield _made(
        asked, _parsed(record.get("output")), model=record.get("model") or record.get("providedModelName"),
        at=record.get("startTime"), into=usage.get("input"), out=usage.get("output"),
        usd=record.get("calculatedTotalCost", costs.get("total")),
        who=record.get("sessionId") or record.get("userId") or record.get("traceId"),
        tools=isinstance(asked, Mapping) and bool(asked.get("tools")),
    )  # fmt: skip


def _litellm(record: Json) -> Iterator[Recorded | None]:
    given = record.get("kwargs") if isinstance(record.get("kwargs"), Mapping) else record
    assert isinstance(given, Mapping)
    yield _made(
        given.get("messages"), _parsed(record.get("response") or record.get("complete_response")),
        model=record.get("model"), at=record.get("startTime"), into=record.get("prompt_tokens"),
        out=record.get("completion_tokens"), usd=record.get("response_cost", record.get("spend")),
        who=record.get("session_id") or record.get("end_user") or record.get("user"),
        tools=bool(_part(record, "model_parameters").get("tools")),
    )  # fmt: skip


def _openai_log(record: Json) -> Iterator[Recorded | None]:
    request = _part(record, "body") or _part(record, "request") or record
    response = _part(record, "response") or record
    response = _part(response, "body") or response
    said: Any = response if response.get("choices") else record.get("answer") or record.get("output")
    usage = _part(response, "usage")
    yield _made(
        request.get("messages") or request.get("input"), said, model=request.get("model") or response.get("model"),
        at=response.get("created") or record.get("created"), into=usage.get("prompt_tokens"),
        out=usage.get("completion_tokens"), usd=record.get("usd"), who=request.get("user"),
        tools=bool(request.get("tools") or request.get("response_format")),
    )  # fmt: skip


def _otel(record: Json) -> Iterator[Recorded | None]:
    """Spans of OTLP's JSON, by the GenAI conventions or by OpenInference's."""
    groups = [
        span for resource in record.get("resourceSpans") or () for scope in resource.get("scopeSpans") or ()
        for span in scope.get("spans") or ()
    ]  # fmt: skip
    for span in groups or ([record] if "attributes" in record else []):
        facts = _attributes(span.get("attributes"))
        asked = _parsed(facts.get("gen_ai.input.messages")) or _numbered(facts, "llm.input_messages")
        said = _parsed(facts.get("gen_ai.output.messages")) or _numbered(facts, "llm.output_messages")
        yield _made(
            asked, said, model=facts.get("gen_ai.request.model") or facts.get("llm.model_name"),
            at=_nanoseconds(span.get("startTimeUnixNano")),
            into=facts.get("gen_ai.usage.input_tokens", facts.get("llm.token_count.prompt")),
            out=facts.get("gen_ai.usage.output_tokens", facts.get("llm.token_count.completion")),
            who=facts.get("gen_ai.conversation.id") or facts.get("session.id") or span.get("traceId"),
            tools="gen_ai.tool.definitions" in facts or any(name.startswith("llm.tools") for name in facts),
        )  # fmt: skip


FORMATS: Mapping[str, Callable[[Json], Iterator[Recorded | None]]] = {
    "langfuse": _langfuse, "litellm": _litellm, "otel": _otel, "openai-log": _openai_log,
}  # fmt: skip


# ── parts ──


def _made(
    asked: Any, said: Any, *, model: Any, at: Any, into: Any = None, out: Any = None, usd: Any = None, who: Any = None,
    tools: bool = False,
) -> Recorded | None:  # fmt: skip
    messages = _messages(asked)
    if not messages:
        return None
    key = last_question([Message(_ROLES.get(one["role"], "user"), one["content"]) for one in messages])
    return Recorded(
        tuple(messages), key.text or "", _text(said), str(model or ""), _moment(at), _count(into), _count(out),
        float(usd) if isinstance(usd, (int, float)) else None, str(who or ""), tools or key.work != "answer",
    )  # fmt: skip


def _messages(value: Any) -> list[dict[str, str]]:
    if isinstance(value, Mapping):
        value = value.get("messages") or value.get("input") or [value]
    if isinstance(value, str):
        return [{"role": "user", "content": value}] if value.strip() else []
    if not isinstance(value, Sequence):
        return []
    found = [{"role": str(one.get("role", "user")), "content": _text(one)} for one in value if isinstance(one, Mapping)]
    return [one for one in found if one["content"]]


def _text(value: Any) -> str:
    """The text in a message, an answer, a list of parts, or a whole completion."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return "".join(filter(None, map(_text, value)))
    if not isinstance(value, Mapping):
        return ""
    if isinstance(value.get("choices"), list):
        first = value["choices"][0] if value["choices"] else {}
        return _text(first.get("message") or first.get("text")) if isinstance(first, Mapping) else ""
    return _text(next((value[name] for name in ("content", "parts", "text", "completion") if value.get(name)), ""))


def _part(record: Json, name: str) -> Json:
    found = record.get(name)
    return found if isinstance(found, Mapping) else {}


def _parsed(value: Any) -> Any:
    """JSON that a log keeps as a text, or the text itself."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _attributes(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    pairs = value if isinstance(value, list) else []
    return {one["key"]: _plain(one.get("value")) for one in pairs if isinstance(one, Mapping) and "key" in one}


def _plain(value: Any) -> Any:
    """An OTLP value as itself."""
    if not isinstance(value, Mapping):
        return value
    name, held = next(iter(value.items()), ("", None))
    return int(held) if name == "intValue" and isinstance(held, (str, int)) else held


def _numbered(facts: Json, prefix: str) -> list[dict[str, str]]:
    """OpenInference's messages, whose places are parts of names: `llm.input_messages.0.message.content`."""
    found: list[dict[str, str]] = []
    while (role := facts.get(f"{prefix}.{len(found)}.message.role")) is not None:
        found.append({"role": role, "content": str(facts.get(f"{prefix}.{len(found)}.message.content") or "")})
    return found


def _nanoseconds(value: Any) -> float | None:
    return int(value) / 1e9 if isinstance(value, (int, str)) and str(value).isdigit() else None


def _moment(value: Any) -> float | None:
    if isinstance(value, (int, float)):
        return float(value)
    try:
        return datetime.fromisoformat(str(value).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and value >= 0 else None
