"""Whether a served answer is a lesson: what keeps anything from being learned, and what takes time."""

from __future__ import annotations

from rar.values import STRONG, Decision, Reply


def asks(decision: Decision) -> bool:
    """Whether learning from a decision may ask models or the memory; else it takes no time and can be done at once."""
    evidence = decision.request.evidence
    reference = evidence is None or evidence.of(decision.model) is None
    return reference or getattr(decision.choice, "audit", False)


def obstacle(decision: Decision, reply: Reply) -> str | None:
    """What keeps anything from being learned, a code of `rar.words.NOT_LEARNED`; None if nothing does.

    A caller who forces the weak model may do so because the request must not reach the strong one.
    """
    request = decision.request
    useless = reply.empty and (decision.model == STRONG or not request.learn)  # an empty weak answer can be audited
    obstacles = {
        "joined": decision.joined is not None,
        "forced": request.force is not None,
        "continued_turn": request.sticky is not None,
        "no_key": request.key is None,
        "call_failed": request.embedding is None,
        "failed_over": bool(decision.failed),
        "over_limit": decision.choice.reason == "over_limit",
        "not_served": useless or not _is_compared(decision),
        "asked_not_to": not request.learn,
    }
    return next((code for code, met in obstacles.items() if met), None)


def _is_compared(decision: Decision) -> bool:
    """Whether the model that answered is the reference, or is compared with it."""
    evidence = decision.request.evidence
    return decision.model == STRONG or (evidence is not None and evidence.of(decision.model) is not None)
