"""The facts of a decision: one typed value, whose stored form versions before and after can read."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from rar.evidence import Evidence, Standing
from rar.facts import AttemptFact, DecisionFacts, LearnedFacts, facts_of, read_facts
from rar.values import STRONG, Decision, Guide, GuideMatch, Route, question

EAST = np.array([1.0, 0.0], np.float32)
SMALL = Standing("weak", "small", learned=0.123456)

# What is stored of one decision, key by key.
STORED: dict[str, Any] = {
    "decision_id": "d1", "model": "weak", "reason": "likely_guided", "why": "Similar questions went well.",
    "guide_id": "g1", "confidence": 0.91, "similarity": 0.8, "key_source": "last_user_message", "drafts": 1,
    "failed_over": ["weak"],
    "calls": [
        {
            "model": "weak", "purpose": "serve", "input_tokens": 10, "output_tokens": 2, "seconds": 0.5, "usd": None,
            "failed": False,
        },
    ],
    "usd": 0.001, "strong_usd": None, "input_tokens": 10, "output_tokens": 2,
    "estimated": False, "namespace": "acme", "task": "answer", "at": 7.5, "audit": True, "needed": 0.85,
    "quality": 0.95, "not_learned": "budget", "question": "What is it?", "pair": ["small", "large"],
    "models": {"strong": "large", "weak": "small"}, "context": "",
    "user": "", "threshold": 0.85, "prior": None, "learned_gap": 0.1, "corrected_gap": None, "labels": 0,
    "audit_bias": 0.0, "audits": 3, "drift": 0.2,
    "trusted_since": 0.0, "neighbours": [{"experience_id": "e1", "similarity": 0.8, "same": False}],
    "guides": [{"guide_id": "g1", "similarity": 0.8}],
    "learned": {
        "attempts": [
            {"model": "weak", "guide_id": None, "ok": True, "judge": "letter", "gap": None, "drawn": False, "signs": []}
        ],
        "audit_agreed": True, "guide_written": None, "guide_refused": None, "stopped": None, "usd": 0.002,
    },
}  # fmt: skip


def test_what_was_stored_is_read_and_written_again_as_it_was() -> None:
    facts = read_facts(STORED)

    assert facts.evidence is not None and facts.evidence.pair == ("small", "large")
    assert facts.evidence.models["weak"] == "small"
    assert facts.learned == LearnedFacts((AttemptFact("weak", None, True, "letter"),), True, usd=0.002)
    assert json.loads(json.dumps(facts.as_dict())) == STORED


def test_what_a_newer_version_stored_beside_is_kept() -> None:
    assert read_facts({**STORED, "colour": "blue"}).as_dict()["colour"] == "blue"


def test_a_record_without_facts_can_be_read() -> None:
    assert read_facts({}) == DecisionFacts("", "")


@pytest.mark.parametrize("name", sorted(STORED))
@pytest.mark.parametrize("value", [None, 7, "text", [], {}, [{}], [None], {"attempts": 3}])
def test_a_value_of_another_type_is_not_known_and_costs_nothing_else(name: str, value: object) -> None:
    facts = read_facts({**STORED, name: value})

    assert facts.decision_id == ("d1" if name != "decision_id" else value if isinstance(value, str) else "")
    json.dumps(facts.as_dict())


def test_what_version_0_1_0_stored_lacks_the_names_of_models() -> None:
    learned = {
        **STORED["learned"],
        "attempts": [{"guide_id": None, "ok": True, "judge": "letter"}],
    }
    older = {name: value for name, value in STORED.items() if name != "models"} | {"learned": learned}

    assert read_facts(older).learned == LearnedFacts((AttemptFact("", None, True, "letter"),), True, usd=0.002)
    assert read_facts(older).evidence.models == {}  # type: ignore[union-attr]


def test_confidence_was_once_held_against_the_threshold() -> None:
    older = {name: value for name, value in STORED.items() if name != "needed"}

    assert read_facts(older).needed == 0.85


def test_what_is_made_of_a_decision_is_what_is_read_again() -> None:
    guide = Guide("g1", "default", "answer", "Look.", EAST, "large", "e1")
    evidence = Evidence("large", (SMALL,), "e2", guides=(GuideMatch(guide, 0.812345),))
    asked = question("What is it?", evidence=evidence)
    decision = Decision("d1", asked, Route(STRONG, reason="below_threshold", confidence=0.5, needed=0.8), 7.5)

    facts = facts_of(decision, costs={"usd": 0.1, "strong_usd": 0.1}, store_text=True)

    assert (facts.question, facts.evidence.guides[0].similarity) == ("What is it?", 0.8123)  # type: ignore[union-attr]
    assert read_facts(facts.as_dict()) == facts
    assert decision.as_dict().items() <= facts.as_dict().items()


@pytest.mark.parametrize("steer", [{"learn": False}, {"force": "weak"}])
def test_a_question_is_no_fact_where_its_text_may_not_be_kept(steer: dict[str, Any]) -> None:
    decision = Decision("d1", question("What is it?", **steer), Route(STRONG), 0.0)

    assert facts_of(decision, store_text=True).question is None
    assert facts_of(Decision("d1", question("What is it?"), Route(STRONG), 0.0)).question is None


def test_facts_hold_no_text_of_a_prompt_or_a_guide() -> None:
    guide = Guide("g1", "default", "answer", "SECRET steps", EAST, "large", "e1")
    evidence = Evidence("large", (SMALL,), guides=(GuideMatch(guide, 0.8),))
    decision = Decision("d1", question("SECRET?", evidence=evidence), Route("weak", guide), 0.0)

    assert "SECRET" not in repr(facts_of(decision)) + str(facts_of(decision).as_dict())
