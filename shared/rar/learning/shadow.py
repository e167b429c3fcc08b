"""Shadow inference: what the weak model would have made of a request, and what would help it. All as steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rar.errors import BudgetError
from rar.guarding import PASSED_ON
from rar.learning.guides import GuideCheck, check_guide, guide_request, parse_guide
from rar.learning.judges import Judge, Verdict
from rar.naming import cause
from rar.strategy import Steps, ask
from rar.values import STRONG, WEAK, Guide, Purpose, Reply, Request

DRAFT = "draft"  # id of a guide that was just written and is not stored yet


@dataclass(frozen=True, slots=True)
class Attempt:
    """One judged attempt of the weak model, alone (`guide` None), with a known guide, or with the one just written."""

    guide: Guide | None
    ok: bool
    judge: str
    gap: float | None = None
    harmful: bool = False  # it would have had the user give, pay, call or visit something (`Verdict.harmful`)

    @property
    def gap_or_verdict(self) -> float:
        """The gap, graded or by the verdict alone."""
        return self.gap if self.gap is not None else 1.0 - self.ok


@dataclass(slots=True)
class Findings:
    """What a climb found, as far as it came.

    Args:
        served: For an audit, the verdict on the served weak answer; None where the judge could not tell.
        reference: Quality of the strong model's answer, as far as a judge graded it.
        guide: Text of a guide that was written, passed the checks, and worked at least once.
        refused: Why a written guide was refused, if one was.
        stopped: What ended the climb early (a failed call, the budget, a judge that cannot tell), if something did.
            Holds nothing of a text.
        said: The judge's own reason, which may.
        ended: The same as a code of `rar.words.NOT_LEARNED`.
        usd: What its calls cost; None if a price is not known.
    """

    attempts: list[Attempt] = field(default_factory=list)
    served: Verdict | None = None
    reference: float | None = None
    guide: str | None = None
    refused: str | None = None
    stopped: str | None = None
    said: str = ""
    ended: str | None = None
    usd: float | None = 0.0

    @property
    def turned(self) -> list[Guide]:
        """Stored guides by which the weak model would have harmed the user, which it did not do without one."""
        alone = any(attempt.harmful for attempt in self.attempts if attempt.guide is None)
        harmful = [attempt.guide for attempt in self.attempts if attempt.guide is not None and attempt.harmful]
        return [] if alone else [guide for guide in harmful if guide.id != DRAFT]

    @property
    def not_learned(self) -> str | None:
        """The code of why nothing at all was learned; None if something was."""
        return None if self.attempts else self.ended

    def fail(self, error: BaseException) -> None:
        """End the climb with a call that raised, whose message may quote the prompt."""
        self.stopped = cause(error)
        self.ended = "budget" if isinstance(error, BudgetError) else "call_failed"

    def give_up(self, verdict: Verdict) -> None:
        """End the climb with a judge that cannot tell."""
        self.stopped, self.said, self.ended = f"judge {verdict.judge} cannot tell", verdict.why, "undecided"


@dataclass(frozen=True)
class Ladder:
    """The rungs, cheapest first; the climb ends at the first that works.

    a. the weak model alone; b. with each of the nearest guides; c. with a guide that the strong model writes for this
    kind of request, verified by further samples; d. nothing works: strong only.

    Args:
        guide_tries: Known guides that are tried at most.
        samples: Times that a fresh guide is tried on its own request; it is kept if the first one works.
        write_guides: Whether the strong model is asked for guides at all.
        check: A check of one's own of a new guide's text.
    """

    judge: Judge
    guide_tries: int = 3
    samples: int = 2
    write_guides: bool = True
    check: GuideCheck | None = None

    def steps(
        self, request: Request, reference: Reply, guides: Sequence[Guide] = (), *, first: Purpose = "shadow"
    ) -> Steps[Findings]:
        """Climb for a request that the strong model answered with `reference`; `first` is what rung a counts as."""
        return (yield from self._guarded(Findings(), request, reference, guides, alone=first))

    def audit(
        self, request: Request, served: Reply, guide: Guide | None, guides: Sequence[Guide] = ()
    ) -> Steps[Findings]:
        """Check a weak answer that was `served` (with `guide`, or alone) by the strong one's; climb on if it fails."""
        found = Findings()
        try:
            reference = yield from ask(STRONG, request, purpose="audit")
            verdict = yield from self._judge(request, reference, served)
        except PASSED_ON:
            raise
        except BaseException as error:
            found.fail(error)
            return found
        if verdict.agrees is None:
            found.give_up(verdict)
            return found
        found.served = verdict
        found.reference = verdict.reference
        found.attempts.append(Attempt(guide, verdict.agrees, verdict.judge, verdict.gap, verdict.harmful))
        if verdict.agrees:
            return found
        untried = [other for other in guides if guide is None or other.id != guide.id]
        alone: Purpose | None = "shadow" if guide is not None else None
        return (yield from self._guarded(found, request, reference, untried, alone=alone))

    def _guarded(
        self, found: Findings, request: Request, reference: Reply, guides: Sequence[Guide], *, alone: Purpose | None
    ) -> Steps[Findings]:
        try:
            yield from self._climb(found, request, reference, guides, alone=alone)
        except PASSED_ON:
            raise
        except BaseException as error:  # a shadow call that fails costs what would have been learned, nothing else
            found.fail(error)
        return found

    def _climb(
        self, found: Findings, request: Request, reference: Reply, guides: Sequence[Guide], *, alone: Purpose | None
    ) -> Steps[None]:
        rungs: list[tuple[Guide | None, Purpose]] = [(None, alone)] if alone else []
        rungs += [(guide, "shadow") for guide in guides[: self.guide_tries]]
        for guide, purpose in rungs:
            if (yield from self._attempt(found, request, reference, guide, purpose)) is not False:
                return  # it works, or the judge cannot tell
        if self.write_guides:
            yield from self._write(found, request, reference)

    def _write(self, found: Findings, request: Request, reference: Reply) -> Steps[None]:
        written = yield from ask(STRONG, guide_request(request, reference), purpose="guide")
        text = parse_guide(written.text)
        found.refused = check_guide(text, request, reference, self.check)
        if found.refused is not None:
            return
        draft = _draft(request, text)
        for sample in range(self.samples):
            ok = yield from self._attempt(found, request, reference, draft, purpose="guide", fresh=sample > 0)
            if sample == 0 and not ok:
                found.refused = "did not help on its own request"
                return
            found.guide = text

    def _attempt(
        self,
        found: Findings,
        request: Request,
        reference: Reply,
        guide: Guide | None,
        purpose: Purpose = "shadow",
        fresh: bool = False,
    ) -> Steps[bool | None]:
        candidate = yield from ask(WEAK, request, guide=guide, purpose=purpose, fresh=fresh)
        verdict = yield from self._judge(request, reference, candidate)
        if verdict.agrees is None:
            found.give_up(verdict)
        else:
            found.reference = verdict.reference
            found.attempts.append(Attempt(guide, verdict.agrees, verdict.judge, verdict.gap, verdict.harmful))
        return verdict.agrees

    def _judge(self, request: Request, reference: Reply, candidate: Reply) -> Steps[Verdict]:
        if reference.empty:
            return Verdict(None, "none", "the strong model's answer is empty")
        if candidate.empty:
            return Verdict(False, "none", "the weak model's answer is empty")
        return (yield from self.judge.steps(request, reference, candidate))


def _draft(request: Request, text: str) -> Guide:
    assert request.embedding is not None  # only requests with a key are learned from
    return Guide(DRAFT, request.namespace, request.task, text, request.embedding, author="", origin="")
