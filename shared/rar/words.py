"""The package's codes in plain words: why a call was routed as it was, what it cost, why nothing was learned from it.

Responses, `explain`, the command line and the report all speak by these. No sentence holds text of a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

if TYPE_CHECKING:
    from rar.facts import DecisionFacts

Reason: TypeAlias = Literal[
    "no_messages", "no_evidence", "memory_weak", "memory_guided", "memory_strong", "memory_paraphrase", "memory_unsure",
    "likely_weak", "likely_guided", "below_threshold", "audit", "static_weak", "static_strong", "sticky", "forced",
    "strategy_failed", "closed",
    "function", "draft_accepted", "drafts_rejected", "best_of", "over_limit",
    "majority", "split_vote", "no_votes", "step_by_step", "drafts_failed", "blended", "best_of_n", "no_ranking",
    "one_draft", "fused", "no_cascade", "expert", "unsure", "thoughts", "no_search", "no_solution", "drafts_agree",
    "drafts_differ", "worth_asking", "best_draft", "approximated", "abstained", "cached", "cached_near",
    "not_cached", "rollout", "no_draft", "label", "last_level", "no_label",
    "no_labels", "few_shot", "cached_prefix",
]  # fmt: skip
"""Why a call was routed as it was, where the package decided; strategies of one's own may give other reasons."""

AUDIT: Final[Reason] = "audit"

# What a policy decides by what it knows: for a cheaper model, and for the strong one.
DECIDED_CHEAPER: Final = frozenset(
    {
        "memory_weak", "memory_guided", "memory_paraphrase", "likely_weak", "likely_guided", "draft_accepted",
        "static_weak",
    }
)  # fmt: skip
DECIDED_STRONG: Final = frozenset(
    {
        "no_evidence", "below_threshold", "memory_strong", "memory_unsure", "static_strong", "rollout",
        "drafts_rejected", "no_draft", "cached_prefix", AUDIT,
    }
)  # fmt: skip

REASONS: Mapping[Reason, str] = {
    "no_messages": "There was nothing to answer, so the strong model was asked as it is",
    "no_evidence": "Nothing like this question is known yet, so the strong model answers",
    "memory_weak": "This question was asked before, and the {model} model's answer agreed with the strong one's",
    "memory_guided": "This question was asked before, and with this guide the {model} model agreed with the strong one",
    "memory_strong": "This question was asked before, and no cheaper model agreed with the strong one",
    "memory_unsure": "This question was asked before and a cheaper model agreed, but it does not always, so the strong "
    "one answers to see",
    "memory_paraphrase": "This was asked before in other words, and the {model} model agreed with the strong one",
    "likely_weak": "Similar questions went well with the {model} model",
    "likely_guided": "Similar questions went well with the {model} model and this guide",
    "below_threshold": "No cheaper model is known to be good enough for such questions",
    "cached_prefix": "The strong model's provider has this conversation cached, and for a cheaper one to read it would "
    "cost more",
    "audit": "A cheaper model is likely good enough, and the strong one answers to check it",
    "static_weak": "Nothing like it was judged yet, and the static router prefers the weak model",
    "static_strong": "Nothing like it was judged yet, and the static router prefers the strong model",
    "sticky": "It continues a turn, which stays with the model that began it",
    "forced": "The caller or RAR_FORCE chose the {model} model, or only it can take such a call",
    "strategy_failed": "The strategy raised an error, so the strong model answers; the log says more",
    "closed": "The router is closed, so the strong model answers",
    "function": "The strategy's function chose the {model} model",
    "draft_accepted": "A draft of the {model} model was accepted",
    "drafts_rejected": "No draft was accepted, so the {model} model answers",
    "no_draft": "A draft would hardly be good enough to be worth its price, so the {model} model answers",
    "majority": "Most drafts of the {model} model say the same",
    "split_vote": "The drafts are of too many minds, so the {model} model answers",
    "no_votes": "No draft says anything that can be compared, so the {model} model answers",
    "step_by_step": "The {model} model was asked to work it out step by step",
    "drafts_failed": "No draft came back, so the {model} model answers",
    "blended": "The {model} model was drawn by chance",
    "cached": "This request was answered before, by the {model} model, and its answer was kept",
    "cached_near": "The same was asked before in other words, and the {model} model's answer was kept",
    "not_cached": "No answer to this request is kept, so the {model} model answers",
    "approximated": "A local classifier is sure of the answer, so no model was asked",
    "abstained": "The local classifier is not sure, so the {model} model answers",
    "label": "A level is sure enough of its label",
    "last_level": "No smaller level is sure of the label, so the {model} model answers",
    "no_label": "The {model} model answers with none of the labels",
    "no_labels": "It does not ask for one of the labels, so the {model} model answers",
    "few_shot": "The {model} model is shown examples first",
    "worth_asking": "The {model} model is expected to be worth its price here",
    "best_draft": "No other model is worth asking, and the {model} model's draft is the likeliest to be good",
    "drafts_agree": "The {model} model's draft agrees with that of another",
    "drafts_differ": "No two drafts agree, so the {model} model answers",
    "no_cascade": "No cascade was found to be worth its drafts, so the {model} model answers",
    "best_of_n": "Of all drafts, one of the {model} model was ranked first",
    "no_ranking": "The drafts agree on nothing, and the first one of the {model} model is as good as any",
    "one_draft": "No draft came back but that of the {model} model",
    "fused": "The {model} model makes one answer of several drafts",
    "expert": "Of all experts' answers, one of the {model} model is the likeliest to be right",
    "unsure": "No expert's answer is likely enough to be right, so the {model} model answers",
    "thoughts": "A search through thoughts of the {model} model found it",
    "no_search": "Nothing is to be searched here, so the {model} model answers",
    "no_solution": "The search found no solution, so the {model} model answers",
    "rollout": "A cheaper model was preferred, and has no part in this conversation yet, so the strong model answers",
    "over_limit": "A spending limit was reached, so the {model} model answers",
    "best_of": "The ranking router expects the best answer from the {model} model",
}
"""What each reason of a decision means; `{model}` stands for the one that answers."""

NOT_LEARNED: Mapping[str, str] = {
    "no_key": "no question was found in the prompt",
    "asked_not_to": "the call was marked as not to be learned from",
    "joined": "it was answered in one call with other questions",
    "forced": "the model was not for the router to choose",
    "continued_turn": "it continues a turn, and depends on more than the question",
    "failed_over": "a model failed, and an outage says nothing about quality",
    "over_limit": "a spending limit chose the model",
    "budget": "the learning budget was spent",
    "undecided": "the judge could not tell whether the weak answer agreed",
    "read_only": "the router is read-only",
    "off": "learning is off",
    "call_failed": "a call or look-up that learning needs failed",
    "waiting": "its lesson was still waiting when this was stored",
    "elsewhere": "another lesson on the same request was waiting, or was being learned",
    "unstored": "nothing could be stored then",
    "dropped": "too many lessons were waiting, or the process ended before this one's turn",
    "not_served": "neither of the two models gave an answer that could be compared",
}
"""What each code of `not_learned` means."""


_HELD = {  # against a threshold
    "likely_weak", "likely_guided", "below_threshold", "audit", "draft_accepted", "drafts_rejected", "no_draft",
}  # fmt: skip


def why(
    reason: str,
    model: str,
    *,
    confidence: float | None = None,
    needed: float | None = None,
    similarity: float | None = None,
    audited: bool = False,
) -> str:
    """One sentence that says why `model` answers.

    Args:
        confidence: Lower bound of the weak answer's quality, as a share of the strong one's, or of its chance.
        needed: What that was held against.
        similarity: Cosine to the question that decided, which may be worded otherwise.
        audited: The strong model is asked afterwards, to check.
    """
    if reason.endswith("_failed") and reason not in REASONS:
        failed = reason.removesuffix("_failed")
        sentence = f"The {failed} model failed or returned nothing, so the {model} one answers"
    elif (known := cast(Reason, reason)) in REASONS:
        sentence = REASONS[known].format(model=model) + _numbers(reason, confidence, needed, similarity)
    else:
        sentence = f"The strategy chose the {model} model" + (f" ({reason})" if reason else "")
    return sentence + (". The answer is checked against the strong model." if audited else ".")


def _numbers(reason: str, confidence: float | None, needed: float | None, similarity: float | None) -> str:
    if reason == "memory_paraphrase" and confidence is not None and similarity is not None:
        return f" (similarity {similarity:.2f}; a chance of {_percent(1.0 - confidence)} that it does not do so here)"
    if reason.startswith("memory_") and similarity is not None and similarity < 1.0:
        return f" (worded otherwise, similarity {similarity:.2f})"
    if confidence is None:
        return ""
    if reason.startswith("static_"):
        return f": a chance of {_percent(confidence)} that it is good enough"
    if needed is None or reason not in _HELD:
        return ""
    expected, asked = _told_apart(confidence, needed)
    return f": at least {expected} of the strong model's quality is expected, and {asked} is needed"


def bar(confidence: float | None, needed: float | None, floor: float | None) -> str:
    """How a decision's confidence, the threshold and the quality floor hang together; empty without a threshold."""
    if needed is None:
        return ""
    kept = "the quality floor" if floor is None else f"the quality floor of {_percent(floor)}"
    start = (
        f"An answer of the weak model needs a confidence of {needed:.3f} at present (the threshold)"
        if confidence is None
        else f"The weak answer is worth at least {confidence:.3f} of the strong one by what is known (confidence); "
        f"{needed:.3f} is needed at present (the threshold)"
    )
    return (
        f"{start}. The threshold moves with what is served and audited, so that all answers together keep {kept}; "
        "strong answers lose nothing, so it may lie below the floor."
    )


def cost(facts: DecisionFacts) -> str:
    """What a call cost, and what the strong model would have, by a decision's facts; empty where nothing is known."""
    costs = facts.costs
    if costs is None or costs.input_tokens is None or costs.output_tokens is None:
        return ""
    source = "estimated from the text" if costs.estimated else "reported by the provider"
    tokens = f"{costs.input_tokens:,} tokens in, {costs.output_tokens:,} out, {source}"
    if costs.usd is None:
        return f"What it cost is unknown, for the model has no known price ({tokens})."
    other = facts.model != "strong" and costs.strong_usd is not None
    versus = f"; the strong model would have cost {costs.strong_usd:.6f} USD" if other else ""
    return f"It cost {costs.usd:.6f} USD{versus} ({tokens})."


def lesson(facts: DecisionFacts) -> str:
    """Why nothing was learned from a decision, by its facts; empty where something was, or nothing was due."""
    code = facts.not_learned
    return f"Nothing was learned from it: {NOT_LEARNED.get(code, code)}." if code else ""


def in_words(facts: DecisionFacts) -> list[str]:
    """A decision in sentences: why, the threshold, the cost, and why nothing was learned."""
    confidence, needed, reason = facts.confidence, facts.needed, facts.reason
    said = facts.why or why(reason, facts.model, confidence=confidence, needed=needed, similarity=facts.similarity)
    weighed = reason.startswith("likely_") or reason in {"below_threshold", "audit"}
    relation = bar(confidence, needed, facts.quality) if weighed else ""
    graded = labelled(facts) if weighed else ""
    return [sentence for sentence in (said, relation, graded, cost(facts), lesson(facts)) if sentence]


def labelled(facts: DecisionFacts) -> str:
    """What people's grades made of the expected loss; empty where they made nothing of it."""
    known = facts.evidence
    if known is None or known.learned_gap is None or known.corrected_gap is None:
        return ""
    judged, corrected = _told_apart(known.learned_gap, known.corrected_gap)
    return (
        f"By the judge's word {judged} of the quality would be lost; by {known.labels:,} answers that people graded, "
        f"that is {corrected}."
    )


def _percent(share: float) -> str:
    return f"{100.0 * max(share, 0.0):.0f} %"


def _told_apart(one: float, other: float) -> tuple[str, str]:
    """Two shares in per cent, with as many decimals as tell them apart; none below 0 %."""
    one, other = max(one, 0.0), max(other, 0.0)
    for decimals in (0, 1, 2):
        shown = f"{100.0 * one:.{decimals}f} %", f"{100.0 * other:.{decimals}f} %"
        if shown[0] != shown[1] or one == other:
            break
    return shown
