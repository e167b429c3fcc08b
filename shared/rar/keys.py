"""The key: the user's own question, found under the prompt that a framework built around it.

What is embedded decides what is alike, so boilerplate and retrieved context must stay out of it. Plugins walk their
framework's ladder of places where the question may be known and end at `last_question`, which all share. With the key
comes the kind of work that the prompt does with it (`rar.work`), which is part of the task.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from rar.context import PLAIN, Context, context_of
from rar.errors import RequestError
from rar.followups import in_conversation, stands_alone
from rar.guarding import PASSED_ON
from rar.naming import cause, shown
from rar.notices import Notices
from rar.templates import around, history_in, instructions_in, parsed
from rar.values import Message
from rar.work import label_of

# "We have the opportunity to refine the existing answer (…)", and a ruled line: the question again, about a draft.
_REFINES = re.compile(
    r"\b(?:refine|improve|revise) [^.\n]{0,40}\b(?:existing|original|previous) (?:answer|response)\b"
    r"[^\n]{0,200}\n[-=]{3}",
    re.IGNORECASE,
)
_REFINED = 400  # characters within which such a prompt says so
_tell = Notices()  # once a process: what finds a key belongs to no router
_query: ContextVar[str | None] = ContextVar("rar_query", default=None)

Attached = Callable[[Message], str]

LONG = "long"  # in the task of a question that is longer than the embedder reads


def _nothing(_: Message) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Key:
    """The question and the rung of the ladder that found it.

    Args:
        text: None where there is no question to be found; nothing is learned from such a call.
        source: Where it was found. `"hidden"`: in a template that does not show which part is the question.
        work: The kind of work that the prompt does with it, as `rar.work.label_of` names it.
        asked: The question as the prompt has it, where `text` holds more: the conversation, what is attached.
        attachment: A digest of what is attached; empty where nothing is.
    """

    text: str | None
    source: str
    work: str = "answer"
    asked: str | None = None
    attachment: str = ""

    def use(self, messages: Sequence[Message]) -> Context:
        """The context of use: what else the messages hold that an answer may depend on."""
        question = self.asked if self.asked is not None else self.text
        return PLAIN if question is None else context_of(messages, question, self.source, self.attachment)


@contextmanager
def query(text: str) -> Iterator[None]:
    """Say what the user's question is, for all routed calls made inside this block, in any framework.

    Raises:
        RequestError: `text` is no text, or an empty one.
    """
    if not isinstance(text, str) or not text.strip():
        raise RequestError(f"rar.query got {shown(text)}. Pass the user's question, a text.")
    token = _query.set(text)
    try:
        yield
    finally:
        _query.reset(token)


def extracted(extractor: Callable[[Any], Any], messages: Sequence[Any]) -> str | None:
    """What a user's rule finds in `messages`; None where it does not know, raises, or returns anything but text."""
    try:
        found = extractor(messages)
    except PASSED_ON:
        raise
    except BaseException as error:
        _tell("raised", "`query_extractor` raised, so that the question is looked for without it. %s", cause(error))
        return None
    if found is not None and not isinstance(found, str):
        _tell("type", "`query_extractor` returned %s, and must return a string or None.", shown(found))
        return None
    return found or None


def given_query(query: Any) -> str | None:
    """`rar_query` if it is a string."""
    if query is None or isinstance(query, str):
        return query
    _tell("query", "`rar_query` is %s, and must be a string; the question is looked for without it.", shown(query))
    return None


def ambient_query() -> str | None:
    """The question of the `query` block that we are in, if any."""
    return given_query(_query.get())


def last_question(messages: Sequence[Message], attached: Attached = _nothing) -> Key:
    """The question in the last user message, out of the template around it, with as much conversation as it needs.

    Args:
        attached: A digest of what a message holds beside its text (images, files, audio); empty where there is nothing.
    """
    at = _last_user(messages)
    if at is None or not messages[at].text.strip():
        return Key(None, "none")
    text, earlier = messages[at].text.strip(), _earlier(messages, at)
    template = parsed(text)
    work = label_of(f"{_system(messages)}\n\n{'' if template is None else template.instructions}")
    if template is not None:
        key = Key(template.question, "hidden" if template.question is None else "template", work)
        return _in_context(key, messages, at, attached)
    asked = next((message for message in reversed(earlier) if message.role == "user"), None)
    if asked is not None and _REFINES.search(text[:_REFINED]):
        return _with_attached(Key(asked.text.strip() or None, "template", work), asked, attached)
    if earlier and earlier[-1].role == "user" and work == "answer" and not stands_alone(text):
        work = label_of(text)  # a template's last word, behind the user's: "given the above, write a search query"
    return _in_context(Key(text, "last_user_message", work), messages, at, attached)


def question_in_template(text: str) -> str | None:
    """The question of a prompt that a template made; None where there is none, or none that can be told for sure."""
    template = parsed(text)
    return None if template is None else template.question


def known_question(key: Key, messages: Sequence[Message], attached: Attached | None = None) -> Key:
    """A question that is known from elsewhere, with the work that the prompt around it does.

    Args:
        attached: As for `last_question`. None: the caller says what the question is, and it stays as it is.
    """
    at = _last_user(messages)
    if at is None or key.text is None:
        return key
    instructions = around(messages[at].text, key.text)
    key = replace(key, work=label_of(f"{_system(messages)}\n\n{instructions}"))
    return key if attached is None else _in_context(key, messages, at, attached)


def _in_context(key: Key, messages: Sequence[Message], at: int, attached: Attached) -> Key:
    """The key of message `at` with what it needs of the conversation before it, and with what is attached to it."""
    if key.text is None:
        return key
    earlier = _earlier(messages, at)
    marks = [attached(message) for message in earlier]
    said = [(message.role, f"{message.text}\n{mark}".strip()) for message, mark in zip(earlier, marks, strict=True)]
    history = history_in(messages[at].text, key.text)
    if history:
        said.append(("user", history))
    answered = next((text for role, text in reversed(said) if role == "assistant"), "")
    if said and (any(marks) or not stands_alone(key.text, answered)):
        whole = in_conversation(key.text, said)
        key = replace(key, text=whole, source=f"{key.source}+history", asked=key.text)
    return _with_attached(key, messages[at], attached)


def _earlier(messages: Sequence[Message], at: int) -> list[Message]:
    return [message for message in messages[:at] if message.role in {"user", "assistant"}]


def _last_user(messages: Sequence[Message]) -> int | None:
    return next((at for at in reversed(range(len(messages))) if messages[at].role == "user"), None)


def _system(messages: Sequence[Message]) -> str:
    return "\n\n".join(instructions_in(message.text) for message in messages if message.role == "system")


def _with_attached(key: Key, message: Message, attached: Attached) -> Key:
    """The key of a text with something attached, which the same text with something else does not share."""
    mark = attached(message)
    if not mark or key.text is None:
        return key
    asked = key.text if key.asked is None else key.asked
    return replace(key, text=f"{key.text}\n[attached {mark}]", asked=asked, attachment=mark)


def task_of(*, tools: Sequence[Any] = (), schema: Any = None, work: str = "answer") -> str:
    """What a call wants: the kind of work, and the form of its result. Nothing learned about one is used for another.

    Args:
        tools: JSON-able tool definitions or names; their order does not matter.
        schema: A JSON schema, or anything JSON-able that stands for one.
        work: As `rar.work.label_of` names it.

    Returns:
        `"answer"`, `"tools:<hash>"`, `"schema:<hash>"` or `"tools:<hash>/schema:<hash>"`; of other work than answering
        `"rephrase"`, `"rephrase/schema:<hash>"`.
    """
    parts = []
    if tools:
        parts.append(f"tools:{_fingerprint(sorted(_canonical(tool) for tool in tools))}")
    if schema is not None:
        parts.append(f"schema:{_fingerprint(_canonical(schema))}")
    return with_work("/".join(parts) or "answer", work)


def named_tool(tool: Any) -> Any:
    """What tells a tool in OpenAI's form from others: its name and parameters; any other form is itself."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    return {name: function.get(name) for name in ("name", "parameters")} if isinstance(function, Mapping) else tool


def with_work(form: str, work: str) -> str:
    """The task of some work whose result has a form: `"answer"`, `"rephrase"`, `"rephrase/schema:<hash>"`."""
    if work == "answer":
        return form
    return work if form == "answer" else f"{work}/{form}"


def has_form(task: str) -> bool:
    """Whether a task has tools to call, or a schema that its result must have."""
    return any(part.startswith(("tools:", "schema:")) for part in task.split("/"))


def offers_tools(task: str) -> bool:
    """Whether a task has tools to call."""
    return any(part.startswith("tools:") for part in task.split("/"))


def is_long(task: str) -> bool:
    """Whether a task is that of questions longer than the embedder reads."""
    return task == LONG or task.endswith(f"/{LONG}")


def _canonical(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    """`value` as JSON has it, the same in every process: others go by their names, never by addresses."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(_canonical, value))
    name = getattr(value, "__qualname__", None)
    return f"{value.__module__}.{name}" if isinstance(name, str) else _ADDRESS.sub("", repr(value))


def _fingerprint(value: Any) -> str:
    return hashlib.blake2b(_canonical(value).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def arguments_of(given: Mapping[str, Any]) -> str:
    """A fingerprint of a call's own arguments; empty where there are none."""
    return _fingerprint(given) if given else ""


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
