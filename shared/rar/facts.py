"""The facts of a decision as one typed value, made here and nowhere else.

Responses, the memory, `explain`, the command line, the report and observers all read them. They hold no text of a
prompt but the question, and that only where the memory may keep texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rar.words import why

if TYPE_CHECKING:
    from rar.evidence import Evidence
    from rar.values import Decision

_NEIGHBOURS = 8  # that explain a decision
_QUESTION = 2_000  # characters of a question that are kept


@dataclass(frozen=True, slots=True)
class CostFacts:
    """What a served call used and cost; USD are None where no price is known."""

    usd: float | None = None
    strong_usd: float | None = None  # of the same tokens at the strong model's price
    input_tokens: int | None = None
    output_tokens: int | None = None
    estimated: bool = False  # the provider did not report both counts


@dataclass(frozen=True, slots=True)
class CallFact:
    """One call behind a decision; `failed` if it raised, or held no answer."""

    model: str
    purpose: str = "serve"
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float | None = None
    usd: float | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class NeighbourFact:
    """A remembered question that was looked at."""

    experience_id: str
    similarity: float = 0.0
    same: bool = False


@dataclass(frozen=True, slots=True)
class GuideFact:
    """A guide that was looked at."""

    guide_id: str
    similarity: float = 0.0


@dataclass(frozen=True, slots=True)
class EvidenceFacts:
    """What a decision was made from. The names are those of the stored form."""

    pair: tuple[str, str] | None = None  # ids of the model that it is about and of the strong one
    models: Mapping[str, str] = field(default_factory=dict)  # ids by name
    context: str = ""
    user: str = ""
    threshold: float | None = None
    prior: float | None = None
    learned_gap: float | None = None
    corrected_gap: float | None = None  # the same as people would grade it; None where nobody graded any
    labels: int = 0  # answers that people graded
    audit_bias: float | None = None
    audits: int = 0
    drift: float = 0.0
    trusted_since: float = 0.0
    neighbours: tuple[NeighbourFact, ...] = ()
    guides: tuple[GuideFact, ...] = ()


@dataclass(frozen=True, slots=True)
class AttemptFact:
    """One try of a cheaper model, and what the judge said of it; `drawn` if chance chose that it was made.

    `signs` are those of the answer (`rar.learning.signs`): numbers, which quote nothing; empty in older records.
    """

    model: str = ""  # its name; older versions tried one model alone
    guide_id: str | None = None
    ok: bool = False
    judge: str = ""
    gap: float | None = None  # of a judge that grades
    drawn: bool = False
    signs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class LearnedFacts:
    """What a lesson found. `stopped` says why it ended before its end; `usd` is None where it is not known."""

    attempts: tuple[AttemptFact, ...] = ()
    audit_agreed: bool | None = None
    guide_written: str | None = None
    guide_refused: str | None = None
    stopped: str | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class DecisionFacts:
    """All that is known of one decision.

    Args:
        why: One sentence; empty in records of older versions.
        confidence, needed: Lower bound of what the weak answer is worth, and what it was held against.
        audit: Chance chose to check the weak model here.
        quality: The quality floor; None where the policy has none.
        not_learned: Why nothing was learned, a code of `rar.words.NOT_LEARNED`.
        question: None where no text is kept.
        joined: Requests that one call answered together; None: it was asked alone.
        calls: Those before the answer; once that is whole, all of them.
        costs: None until the answer is whole.
        evidence: None where nothing was looked up.
        learned: None until a lesson was made of it.
        others: Keys of a stored record that this version does not know, kept as they are.
    """

    decision_id: str
    model: str
    reason: str = ""
    why: str = ""
    guide_id: str | None = None
    confidence: float | None = None
    similarity: float | None = None
    key_source: str = ""
    drafts: int = 0
    failed_over: tuple[str, ...] = ()
    calls: tuple[CallFact, ...] = ()
    namespace: str = "default"
    task: str = "answer"
    at: float = 0.0
    audit: bool = False
    needed: float | None = None
    quality: float | None = None
    not_learned: str | None = None
    question: str | None = None
    joined: int | None = None
    costs: CostFacts | None = None
    evidence: EvidenceFacts | None = None
    learned: LearnedFacts | None = None
    others: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The stored form, JSON-able."""
        facts = dict(self.others) | {name: getattr(self, name) for name in _STAMPED}
        facts |= {"failed_over": list(self.failed_over), "calls": _plain_part(self.calls)}
        if self.costs is not None:
            facts |= _plain(self.costs)
        facts |= {name: getattr(self, name) for name in _STORED}
        facts |= {name: value for name in _IF_KNOWN if (value := getattr(self, name)) is not None}
        if self.evidence is not None:
            facts |= _plain(self.evidence)
        return facts if self.learned is None else facts | {"learned": _plain(self.learned)}


_STAMPED = (
    "decision_id", "model", "reason", "why", "guide_id", "confidence", "similarity", "key_source", "drafts",
)  # fmt: skip
_STORED = ("namespace", "task", "at", "audit", "needed", "quality")
_IF_KNOWN = ("not_learned", "question", "joined")


def stamp_of(decision: Decision) -> dict[str, Any]:
    """What every response carries of `decision`, JSON-able: the first of its facts."""
    choice, guide = decision.choice, decision.guide
    similarity: float | None = getattr(choice, "similarity", None)
    return {
        "decision_id": decision.id,
        "model": decision.model,
        "reason": choice.reason,
        "why": why(
            choice.reason,
            decision.model,
            confidence=choice.confidence,
            needed=getattr(choice, "needed", None),
            similarity=similarity,
            audited=getattr(choice, "check", False),
        ),
        "guide_id": guide.id if guide else None,
        "confidence": _rounded(choice.confidence),
        "similarity": _rounded(similarity),
        "key_source": decision.request.key_source,
        "drafts": decision.drafts,
        "failed_over": [failure.model for failure in decision.failed],
        "calls": [call.as_dict() for call in decision.calls],
        **({} if decision.joined is None else {"joined": decision.joined}),
    }


def facts_of(
    decision: Decision,
    *,
    costs: Mapping[str, Any] | None = None,
    not_learned: str | None = None,
    learned: LearnedFacts | None = None,
    store_text: bool = False,
) -> DecisionFacts:
    """The facts of `decision`.

    Args:
        costs: `Router.costs` of its reply, if that is whole.
        store_text: The question may be among them, unless the caller keeps it from the strong model or from learning.
    """
    choice, request, evidence = decision.choice, decision.request, decision.request.evidence
    keep = store_text and request.learn and request.force in (None, "strong") and request.key is not None
    stamp = stamp_of(decision)
    made = (costs or {}).get("calls", stamp["calls"])
    return DecisionFacts(
        **stamp | {"failed_over": tuple(stamp["failed_over"]), "calls": _read_calls(made) or ()},
        namespace=request.namespace,
        task=request.task,
        at=decision.at,
        audit=bool(getattr(choice, "audit", False)),
        needed=_rounded(getattr(choice, "needed", None)),
        quality=decision.floor,
        not_learned=not_learned,
        question=request.key[:_QUESTION] if keep and request.key is not None else None,
        costs=_read(CostFacts, costs) if costs else None,
        evidence=_evidence_of(decision, evidence) if evidence is not None else None,
        learned=learned,
    )


def _evidence_of(decision: Decision, evidence: Evidence) -> EvidenceFacts:
    """What a decision was made from: of the arm that it is about, and of the request."""
    about = getattr(decision.choice, "instead_of", None) or decision
    standing = evidence.of(about.model) or (evidence.cheapest if about.model == "strong" else None)
    if standing is not None and about.guide is not None:
        standing = standing.helped
    learned = None if standing is None else standing.learned
    labels = 0 if standing is None else standing.correction.labels
    corrected = None if standing is None or learned is None or not labels else standing.correction(learned)
    return EvidenceFacts(
        pair=("" if standing is None else standing.model_id, evidence.reference_id),
        models={"strong": evidence.reference_id, **{one.model: one.model_id for one in evidence.standings}},
        context=evidence.context,
        user=evidence.user,
        threshold=_rounded(evidence.threshold),
        prior=None if standing is None else standing.prior,
        learned_gap=_rounded(learned),
        corrected_gap=_rounded(corrected),
        labels=labels,
        audit_bias=0.0 if standing is None else _rounded(standing.state.bias),
        audits=0 if standing is None else standing.state.audits,
        drift=0.0 if standing is None else round(standing.drift, 3),
        trusted_since=0.0 if standing is None else standing.since,
        neighbours=tuple(
            NeighbourFact(match.experience.id, round(match.similarity, 4), match.same)
            for match in evidence.matches[:_NEIGHBOURS]
        ),
        guides=tuple(GuideFact(entry.guide.id, round(entry.similarity, 4)) for entry in evidence.guides),
    )


# --- reading what was stored, by this version or another --------------------------------------------------------------


def read_facts(stored: Mapping[str, Any]) -> DecisionFacts:
    """The facts of a stored record. What is missing or of another type is as if it were not known."""
    learned, known = stored.get("learned"), {name for kind in _KINDS for name in _READERS[kind]} | {"learned"}
    facts = _given(DecisionFacts, stored)
    evidence = _given(EvidenceFacts, stored)
    if "needed" not in stored:
        facts["needed"] = evidence.get("threshold")  # older versions held the confidence against that
    return DecisionFacts(
        **{"decision_id": "", "model": "", **facts},
        costs=_read(CostFacts, stored) if _given(CostFacts, stored) else None,
        evidence=EvidenceFacts(**evidence) if evidence else None,
        learned=_read(LearnedFacts, learned) if isinstance(learned, Mapping) and learned else None,
        others={name: value for name, value in stored.items() if name not in known},
    )


def attempts_of(stored: Mapping[str, Any], model_id: str, reference_id: str) -> tuple[AttemptFact, ...]:
    """The judged attempts that a stored record holds of one model against the reference, and nothing else of it."""
    learned, models = stored.get("learned"), _names(stored.get("models")) or {}
    if not isinstance(learned, Mapping) or models.get("strong") != reference_id:
        return ()
    found: tuple[AttemptFact, ...] = _read_attempts(learned.get("attempts")) or ()
    return tuple(attempt for attempt in found if models.get(attempt.model) == model_id)


def _read(kind: Any, stored: Mapping[str, Any]) -> Any:
    return kind(**_given(kind, stored))


def _given(kind: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    """What `stored` says of the fields of `kind`."""
    found = {}
    for name, read in _READERS[kind].items():
        value = stored.get(name)
        if value is not None and (value := read(value)) is not None:
            found[name] = value
    return found


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _texts(value: Any) -> tuple[str, ...] | None:
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else None


def _numbers(value: Any) -> tuple[float, ...] | None:
    known = isinstance(value, (list, tuple)) and all(_number(one) is not None for one in value)
    return tuple(map(float, value)) if known else None


def _two(value: Any) -> tuple[str, str] | None:
    return (str(value[0]), str(value[1])) if isinstance(value, (list, tuple)) and len(value) == 2 else None


def _names(value: Any) -> dict[str, str] | None:
    return {str(name): str(one) for name, one in value.items()} if isinstance(value, Mapping) else None


def _many(kind: Any, needed: str) -> Callable[[Any], tuple[Any, ...] | None]:
    def read(value: Any) -> tuple[Any, ...] | None:
        if not isinstance(value, (list, tuple)):
            return None
        found = [_given(kind, one) for one in value if isinstance(one, Mapping)]
        return tuple(kind(**one) for one in found if needed in one)

    return read


_read_calls = _many(CallFact, "model")
_read_attempts = _many(AttemptFact, "ok")
_READERS: Mapping[type, Mapping[str, Callable[[Any], Any]]] = {
    CostFacts: {
        "usd": _number, "strong_usd": _number, "input_tokens": _count, "output_tokens": _count, "estimated": _flag,
    },
    CallFact: {
        "model": _text, "purpose": _text, "input_tokens": _count, "output_tokens": _count, "seconds": _number,
        "usd": _number, "failed": _flag,
    },
    NeighbourFact: {"experience_id": _text, "similarity": _number, "same": _flag},
    GuideFact: {"guide_id": _text, "similarity": _number},
    AttemptFact: {
        "model": _text, "guide_id": _text, "ok": _flag, "judge": _text, "gap": _number, "drawn": _flag,
        "signs": _numbers,
    },
    LearnedFacts: {
        "attempts": _read_attempts, "audit_agreed": _flag, "guide_written": _text, "guide_refused": _text,
        "stopped": _text, "usd": _number,
    },
    EvidenceFacts: {
        "pair": _two, "models": _names, "context": _text, "user": _text, "threshold": _number, "prior": _number,
        "learned_gap": _number, "corrected_gap": _number, "labels": _count,
        "audit_bias": _number, "audits": _count, "drift": _number, "trusted_since": _number,
        "neighbours": _many(NeighbourFact, "experience_id"),
        "guides": _many(GuideFact, "guide_id"),
    },
    DecisionFacts: {
        "decision_id": _text, "model": _text, "reason": _text, "why": _text, "guide_id": _text, "confidence": _number,
        "similarity": _number, "key_source": _text, "drafts": _count, "failed_over": _texts, "calls": _read_calls,
        "namespace": _text, "task": _text, "at": _number, "audit": _flag, "needed": _number, "quality": _number,
        "not_learned": _text, "question": _text, "joined": _count,
    },
}  # fmt: skip
_KINDS = (DecisionFacts, CostFacts, EvidenceFacts)  # whose fields lie side by side in the stored form


def _plain(value: Any) -> dict[str, Any]:
    """A value's fields as JSON has them, for which `asdict` takes ten times as long."""
    return {name: _plain_part(getattr(value, name)) for name in _READERS[type(value)]}


def _plain_part(part: Any) -> Any:
    if isinstance(part, tuple):
        return [_plain(one) if type(one) in _READERS else one for one in part]
    return part


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
