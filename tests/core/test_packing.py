"""Lessons as text: what comes back is what went in, and what may not be stored stays where it is."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rar.errors import LessonFormatError
from rar.evidence import Alike, Evidence, Standing
from rar.learning.learner import Lesson
from rar.learning.packing import LONGEST, Packer, stage_of, unpack
from rar.memory.base import PolicyState
from rar.values import (
    Arm,
    Decision,
    Experience,
    Guide,
    GuideMatch,
    Match,
    Message,
    Reply,
    Request,
    Route,
    Tally,
    ToolCall,
    Usage,
)

VECTOR = np.array([0.6, 0.8], np.float32)
GUIDE = Guide("g", "n", "answer", "1. Think.", VECTOR, "large", "e")
PACKER = Packer(b"secret")


def lesson(**changes: Any) -> Lesson:
    neighbour = Experience(
        "n1", "n", "answer", "a neighbour's text", "s", VECTOR, (Tally(None, "s", "l", 1, 0, True, 3.0),)
    )
    evidence = Evidence(
        "large-id", (Standing("weak", "small-id", prior=0.5, state=PolicyState(0.7), alike=Alike(0.9, 0.1, 0.2, 3)),),
        "e", matches=(Match(neighbour, 0.9),), guides=(GuideMatch(GUIDE, 0.8),), now=float("inf"),
    )  # fmt: skip
    request = Request(
        (Message("system", "Be\0brief."), Message("user", "What is 2 + 2? \ud83d")), "What is 2 + 2?", "given", "n",
        embedding=VECTOR, evidence=evidence, user="Ada", thread="ada@example.org",
    )  # fmt: skip
    route = Route("strong", reason="audit", instead_of=Arm("weak", GUIDE), chance=0.25)
    decision = Decision("d", replace(request, **changes), route, 12.5, key=b"seal", epoch=4)
    reply = Reply("strong", "4", (ToolCall("add", {"of": [2, 2]}),), Usage(3, 1), "large-id", logprobs=(("4", -0.1),))
    return Lesson(decision, reply, {}, {"usd": 0.1, "calls": [{"model": "strong"}]})


def test_a_lesson_comes_back_as_it_was() -> None:
    given = lesson()

    packed = PACKER.pack(given)

    assert packed is not None
    found = unpack(packed, {})
    assert found.reply == given.reply and found.costs == given.costs
    decision, evidence = found.decision, found.decision.request.evidence
    assert (decision.id, decision.at, decision.epoch, decision.choice) == ("d", 12.5, 4, given.decision.choice)
    assert decision.request.messages == given.decision.request.messages
    assert decision.request.embedding is not None and (decision.request.embedding == VECTOR).all()
    assert evidence is not None and given.decision.request.evidence is not None
    assert evidence.standings == given.decision.request.evidence.standings
    assert evidence.guides[0].guide == GUIDE and evidence.now == float("inf")


def test_what_is_not_needed_is_not_written_down() -> None:
    packed = PACKER.pack(lesson())

    assert packed is not None
    text = zlib.decompress(base64.b64decode(packed.text)).decode()
    assert not [word for word in ("neighbour's", "Ada", "ada@", "seal") if word in text]
    assert "secret" not in repr(packed) and packed.text not in repr(packed)


def test_lessons_on_the_same_request_arm_reference_and_stage_are_told_by_one_digest() -> None:
    packed, again = PACKER.pack(lesson()), PACKER.pack(lesson())
    other = PACKER.pack(lesson(namespace="other"))

    assert packed is not None and again is not None and other is not None
    assert packed.about == again.about != other.about
    assert packed.effect == "d/preferred" and stage_of(lesson().decision) == "preferred"


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"tools": [print]}},
        {"messages": (Message("user", "What is on it?", object()),)},
        {"messages": (Message("user", "x" * 4 * LONGEST),)},
        {"evidence": None},
    ],
    ids=["objects", "native messages of an unknown framework", "too long", "nothing recalled"],
)
def test_what_cannot_be_written_down_stays_in_the_process(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rar.learning.packing.LONGEST", 10_000)

    assert PACKER.pack(lesson(**changes)) is None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda whole: whole | {"format": 99}, "format 99"),
        (lambda whole: whole | {"lesson": {"decision": {"@": "Popen", "is": {}}}}, "'Popen'"),
        (lambda whole: whole | {"lesson": {"decision": {"@": "Decision", "is": {"newer": 1}}}}, "'newer'"),
        (lambda whole: {}, "KeyError"),
    ],
    ids=["a newer format", "an unknown class", "an unknown field", "nothing"],
)
def test_what_this_version_cannot_read_is_named(damage: Callable[[Any], Any], said: str) -> None:
    packed = PACKER.pack(lesson())
    assert packed is not None
    whole = damage(json.loads(zlib.decompress(base64.b64decode(packed.text))))

    with pytest.raises(LessonFormatError, match=said):
        unpack(replace(packed, text=base64.b64encode(zlib.compress(json.dumps(whole).encode())).decode()), {})
