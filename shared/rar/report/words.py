"""What a report says in place of codes, beyond `rar.words`: outcomes, advice, purposes. Pure."""

from __future__ import annotations

from rar.words import NOT_LEARNED

LEARNED = "learned"
NOTHING_DUE = "nothing_due"
NOT_RECORDED = "not_recorded"

_OUTCOMES = {
    LEARNED: "learned: the weak model was tried, and the result is kept",
    NOTHING_DUE: "nothing was due: its question was tried before and that still holds, or chance chose no check",
    NOT_RECORDED: "not recorded by the version that served it",
}

_ADVICE = {
    "no_key": 'Say what the question is: with rar.query("…"), or rar_query= on the call.',
    "budget": "It goes on as the strong model serves. Raise learning_budget= or learning_usd_per_day= to learn faster.",
    "undecided": 'Choose a judge that can: judge="llm" compares free text, a function of yours compares anything.',
    "off": 'Pass learning="background" to learn.',
    "call_failed": "The log names the errors (logger rar).",
    "dropped": "Learning is slower than serving: call router.flush() before the process ends, or use a faster judge.",
}

_PURPOSES = {
    "draft": "drafts that were not used",
    "shadow": "trying the weak model",
    "guide": "trying new guides",
    "judge": "judging answers",
    "audit": "checking weak answers",
}


def outcome_in_words(code: str) -> str:
    """What was learned, or why nothing was."""
    return _OUTCOMES.get(code) or NOT_LEARNED.get(code) or code.replace("_", " ")


def advice(code: str) -> str:
    """What to do about an outcome; empty where nothing need be done."""
    return _ADVICE.get(code, "")


def purpose_in_words(purpose: str, role: str) -> str:
    """What calls of `role` for `purpose` did."""
    if purpose == "serve":
        return f"{role} answers"
    if purpose == "guide" and role in ("strong", "guide_model"):
        return "writing guides"
    return _PURPOSES.get(purpose, purpose)
