"""Lessons as text, so that another process can study them. Nothing is pickled: only known values come back.

What may not be stored, or cannot be written down (images, tools that are functions), is not packed at all.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np

from rar.drive import Models
from rar.errors import LessonFormatError
from rar.evidence import Alike, Evidence, Expected, Standing
from rar.learning.labels import Correction
from rar.learning.learner import Lesson
from rar.learning.obstacles import asks
from rar.memory.base import PolicyState
from rar.memory.forgetting import namespace_key
from rar.memory.identity import keyed_digest
from rar.memory.lessons import PackedLesson
from rar.replies import CallRecord
from rar.values import (
    Answer,
    Arm,
    Decision,
    Draft,
    Experience,
    Guide,
    GuideMatch,
    Match,
    Message,
    Origin,
    Reply,
    Request,
    Route,
    Tally,
    ToolCall,
    Usage,
)

FORMAT = 1  # of the text; a worker that knows only older ones leaves the lesson to others
LONGEST = 2**20  # bytes of a lesson's text, packed; longer ones are learned where they are

_KINDS: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (
        Alike, Answer, Arm, CallRecord, Correction, Decision, Draft, Evidence, Expected, Experience, Guide, GuideMatch,
        Match, Message, Origin, PolicyState, Reply, Request, Route, Standing, Tally, ToolCall, Usage,
    )
}  # fmt: skip
# Users and conversations are known by digests only, which the evidence holds. Limits and meters are the process's.
_LEFT_OUT: Mapping[type, frozenset[str]] = {
    Decision: frozenset({"key", "meter", "failed"}),
    Evidence: frozenset({"policy"}),  # the worker has its own
    Standing: frozenset({"drafts"}),
    Message: frozenset({"native"}),
    Reply: frozenset({"native"}),
    Request: frozenset({"context", "user", "thread", "limits", "options", "sticky"}),
}


class UnpackableError(ValueError):
    """A value that no text stands for. Whoever packs goes without."""


class Natives(Protocol):
    """What a framework adds to a request, as JSON: its own message objects, and how its call was made."""

    def packed(self, request: Request) -> Any:
        """None where the roles and texts of the messages say all: any framework's models can answer those.

        Raises:
            UnpackableError: Something cannot be written down.
        """
        ...

    def restored(self, request: Request, packed: Any) -> Request:
        """`request` as it was packed."""
        ...


NATIVES: dict[str, Natives] = {}
"""By `Request.source`. Each plugin adds its own."""


@dataclass(frozen=True, slots=True)
class Packer:
    """Packs the lessons of one router.

    Args:
        secret: The memory's, for the digests by which waiting lessons are told apart, and found to be deleted.
    """

    secret: bytes

    def pack(self, lesson: Lesson) -> PackedLesson | None:
        """A lesson as a worker takes it; None where only this process can study it."""
        decision = lesson.decision
        request, evidence = decision.request, decision.request.evidence
        if evidence is None or not asks(decision):
            return None
        try:
            native = _native(request)
            whole = {"format": FORMAT, "lesson": _written(lesson), "native": native}
            text = base64.b64encode(zlib.compress(json.dumps(whole).encode(), 1)).decode()
        except (RecursionError, ValueError):
            return None
        if len(text) > LONGEST:
            return None
        arm = decision.choice.arm if isinstance(decision.choice, Route) else Arm(decision.model)
        about = (
            request.namespace, evidence.experience_id, evidence.context, arm.model, arm.guide.id if arm.guide else "",
            evidence.reference_id, stage_of(decision),
        )  # fmt: skip
        effect, digest = effect_of(decision), keyed_digest(self.secret, "\0".join(("lesson", *about)))
        return PackedLesson(
            effect=effect,
            about=digest,
            alone=digest if stage_of(decision) == "do" else effect,  # each answer that chance drew counts
            decision_id=decision.id,
            experience_id=evidence.experience_id,
            place=namespace_key(self.secret, request.namespace),
            source="" if native is None else request.source,
            text=text,
        )


def stage_of(decision: Decision) -> str:
    """What a lesson is to find out: how good the answer was, how good the preferred one was, or what would do."""
    route = decision.choice
    if isinstance(route, Route) and route.check:
        return "check"
    return "preferred" if getattr(route, "instead_of", None) is not None else "do"


def effect_of(decision: Decision) -> str:
    """The name under which a memory knows that a lesson was learned."""
    return f"{decision.id}/{stage_of(decision)}"


def unpack(packed: PackedLesson, models: Models) -> Lesson:
    """The lesson that was packed, to be studied with `models`.

    Raises:
        LessonFormatError: Another version wrote it, or something is wrong with it.
    """
    try:
        whole = json.loads(zlib.decompress(base64.b64decode(packed.text)))
        if whole["format"] > FORMAT:
            raise LessonFormatError(f"it is of format {whole['format']}, this package knows {FORMAT}")
        decision, reply, costs = (_read(whole["lesson"][name]) for name in ("decision", "reply", "costs"))
        if packed.source:
            if packed.source not in NATIVES:
                raise LessonFormatError(f"it needs the plugin of {packed.source!r}, which is not imported")
            request = NATIVES[packed.source].restored(decision.request, whole["native"])
            decision = replace(decision, request=request)
        return Lesson(decision, reply, models, costs)
    except LessonFormatError:
        raise
    except Exception as error:
        raise LessonFormatError(f"its text cannot be read ({type(error).__name__})") from error


def _native(request: Request) -> Any:
    natives = NATIVES.get(request.source)
    if natives is not None:
        return natives.packed(request)
    if request.options or any(message.native is not None for message in request.messages):
        raise UnpackableError
    return None


def _written(lesson: Lesson) -> dict[str, Any]:
    decision = lesson.decision
    evidence = decision.request.evidence
    assert evidence is not None
    # Neighbours' texts are the memory's own: what is deleted there is not to wait here.
    matches = tuple(replace(match, experience=replace(match.experience, text=None)) for match in evidence.matches)
    request = replace(decision.request, evidence=replace(evidence, matches=matches))
    decision = replace(decision, request=request)
    return {"decision": _value(decision), "reply": _value(lesson.reply), "costs": _value(dict(lesson.costs))}


def _value(value: Any) -> Any:
    """`value` as JSON. What is no plain JSON is an object whose `@` says what it is."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"@": "float", "is": repr(float(value))}
    if isinstance(value, np.generic):
        return _value(value.item())
    if isinstance(value, tuple):
        return [_value(one) for one in value]
    if isinstance(value, list):
        return {"@": "list", "is": [_value(one) for one in value]}
    if isinstance(value, np.ndarray):
        if value.ndim != 1 or value.dtype != np.float32:
            raise UnpackableError
        return {"@": "vector", "is": base64.b64encode(value.astype("<f4").tobytes()).decode()}
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise UnpackableError
        return {"@": "map", "is": {name: _value(one) for name, one in value.items()}}
    kind = type(value)
    if _KINDS.get(kind.__name__) is not kind:
        raise UnpackableError
    names = [field.name for field in fields(value) if field.name not in _LEFT_OUT.get(kind, ())]
    return {"@": kind.__name__, "is": {name: _value(getattr(value, name)) for name in names}}


def _read(written: Any) -> Any:
    if isinstance(written, list):
        return tuple(_read(one) for one in written)
    if not isinstance(written, dict):
        return written
    kind, inside = written["@"], written["is"]
    if kind == "float":
        return float(inside)
    if kind == "list":
        return [_read(one) for one in inside]
    if kind == "vector":
        return np.frombuffer(base64.b64decode(inside), "<f4").astype(np.float32)
    if kind == "map":
        return {name: _read(one) for name, one in inside.items()}
    if kind not in _KINDS:
        raise LessonFormatError(f"it holds a {kind!r}, which this package does not know")
    known = {field.name for field in fields(_KINDS[kind])}
    if not known.issuperset(inside):
        raise LessonFormatError(f"its {kind} has {min(inside.keys() - known)!r}, which this package does not know")
    return _KINDS[kind](**{name: _read(one) for name, one in inside.items()})


def as_json(value: Any) -> Any:
    """`value` if it is plain JSON, for what frameworks let be anything.

    Raises:
        UnpackableError: It is not.
    """
    try:
        if json.loads(json.dumps(value, allow_nan=False)) != value:
            raise UnpackableError
    except (TypeError, ValueError, RecursionError):
        raise UnpackableError from None
    return value
