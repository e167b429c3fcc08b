"""Shadow inference: what cheaper models would have made of a request, and what would help them. All as steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rar.errors import BudgetError
from rar.guarding import PASSED_ON
from rar.guide_form import style_of
from rar.learning.guides import GuideCheck, check_guide, guide_request, parse_guide
from rar.learning.judges import Judge, Verdict
from rar.learning.signs import Signs, signs_of
from rar.naming import cause
from rar.sampling import FRESH, Sampling
from rar.strategy import Steps, ask
from rar.values import STRONG, WEAK, Arm, Guide, GuideStyle, Purpose, Reply, Request

DRAFT = "draft"  # id of a guide that was just written and is not stored yet


@dataclass(frozen=True, slots=True)
class Attempt:
    """One judged attempt of a model, alone (`guide` None), with a known guide, or with the one just written.

    Args:
        drawn: Chance had it made, whatever had worked before.
        reply: What was answered.
        signs: Of what was answered alone (`rar.learning.signs`).
    """

    model: str
    guide: Guide | None
    ok: bool
    judge: str
    gap: float | None = None
    harmful: bool = False  # it would have had the user give, pay, call or visit something (`Verdict.harmful`)
    drawn: bool = False
    reply: Reply | None = field(default=None, compare=False, repr=False)
    signs: Signs = field(default=(), compare=False, repr=False)

    @property
    def arm(self) -> Arm:
        return Arm(self.model, self.guide)

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
        answer: That answer, where it was asked for to check another.
        guide: Text of a guide that was written, passed the checks, and worked at least once.
        failed: That of one which passed the checks and did not work.
        refused: Why a written guide was refused, if one was.
        stopped: What ended the climb early (a failed call, the budget, a judge that cannot tell), if something did.
            Holds nothing of a text.
        said: The judge's own reason, which may.
        ended: The same as a code of `rar.words.NOT_LEARNED`.
        usd: What its calls cost; None if a price is not known.
        error: What the failed call raised.
        stands: Requests that this one stands for where a guide was tried though the model alone works.
        drafts: By model, what each alone said before.
    """

    attempts: list[Attempt] = field(default_factory=list)
    served: Verdict | None = None
    reference: float | None = None
    answer: Reply | None = None
    guide: str | None = None
    failed: str | None = None
    refused: str | None = None
    stopped: str | None = None
    said: str = ""
    ended: str | None = None
    usd: float | None = 0.0
    error: BaseException | None = field(default=None, repr=False)
    stands: float = 1.0
    drafts: Mapping[str, Reply] = field(default_factory=dict, repr=False)

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

    def before(self, model: str) -> list[Reply]:
        """The drafts that were made before a model's own."""
        drafted = list(self.drafts)
        return [self.drafts[name] for name in drafted[: drafted.index(model)]] if model in self.drafts else []

    def fail(self, error: BaseException) -> None:
        """End the climb with a call that raised, whose message may quote the prompt."""
        self.stopped, self.error = cause(error), error
        self.ended = "budget" if isinstance(error, BudgetError) else "call_failed"

    def give_up(self, verdict: Verdict) -> None:
        """End the climb with a judge that cannot tell."""
        self.stopped, self.said, self.ended = f"judge {verdict.judge} cannot tell", verdict.why, "undecided"


@dataclass(frozen=True)
class Ladder:
    """The rungs, cheapest first; the climb ends at the first that works.

    a. Each model that costs less than the reference, from cheap to dear, alone.
    b. Each with the nearest guides.
    c. The cheapest with a guide that is written for this kind of request, verified by further samples.
    d. Nothing works: the reference only.

    Some guides are tried on the cheapest model whatever works, also where it was right alone: a guide is served on such
    requests, too, and is judged by what it is served on.

    Args:
        guide_tries: Known guides that are tried at most in search of one that works.
        samples: Times that a fresh guide is tried on its own request; it is kept if the first one works.
        write_guides: Whether guides are asked for at all.
        author: Role of the model that writes them.
        style: Of what it is to write.
        check: A check of one's own of a new guide's text.
    """

    judge: Judge
    guide_tries: int = 3
    samples: int = 2
    write_guides: bool = True
    author: str = STRONG
    style: GuideStyle = "steps"
    check: GuideCheck | None = None

    def steps(
        self,
        request: Request,
        reference: Reply,
        guides: Sequence[Guide] = (),
        *,
        models: Sequence[str] = (WEAK,),
        drawn: Sequence[Arm] = (),
        fair: Sequence[Guide] = (),
        write: bool = True,
        drafts: Sequence[Reply] = (),
    ) -> Steps[Findings]:
        """Climb for a request that the reference model answered with `reference`.

        Args:
            models: What is to be tried, from cheap to dear.
            drawn: What is judged by chance, whatever works; the first of them as the audit that was due.
            fair: Guides that are tried on the cheapest model whatever works.
            write: Whether a guide for this kind of request would be worth its price.
            drafts: What models alone said before: they are not asked once more.
        """
        found = Findings(drafts={draft.model: draft for draft in drafts})
        climb = self._climb(found, request, reference, models, guides, drawn, fair, write)
        return (yield from self._guarded(found, climb))

    def audit(
        self,
        request: Request,
        served: Reply,
        guide: Guide | None,
        guides: Sequence[Guide] = (),
        *,
        models: Sequence[str] = (WEAK,),
        write: bool = True,
    ) -> Steps[Findings]:
        """Check an answer that was `served` (with `guide`, or alone) by the reference's; climb on if it fails.

        Args:
            models: What may be tried then, alone and with `guides`, from cheap to dear.
            write: As for `steps`.
        """
        found = Findings()
        return (yield from self._guarded(found, self._audit(found, request, served, guide, models, guides, write)))

    def _guarded(self, found: Findings, steps: Steps[None]) -> Steps[Findings]:
        try:
            yield from steps
        except PASSED_ON:
            raise
        except BaseException as error:  # a shadow call that fails costs what would have been learned, nothing else
            found.fail(error)
        return found

    def _audit(
        self,
        found: Findings,
        request: Request,
        served: Reply,
        guide: Guide | None,
        models: Sequence[str],
        guides: Sequence[Guide],
        write: bool,
    ) -> Steps[None]:
        reference = yield from ask(STRONG, request, purpose="audit")
        verdict = yield from self._judge(request, reference, served)
        if verdict.agrees is None:
            found.give_up(verdict)
            return
        found.served, found.reference, found.answer = verdict, verdict.reference, reference
        signs = signs_of(request, served) if guide is None else ()
        found.attempts.append(_attempt(served, guide, verdict, signs, drawn=True))
        if not verdict.agrees:
            tried = {(served.model, guide.id if guide else None)}
            yield from self._try_all(found, request, reference, models, guides, tried, write)

    def _climb(
        self,
        found: Findings,
        request: Request,
        reference: Reply,
        models: Sequence[str],
        guides: Sequence[Guide],
        drawn: Sequence[Arm],
        fair: Sequence[Guide],
        write: bool,
    ) -> Steps[None]:
        asked = list(drawn)
        if fair and models:
            cheapest = (Arm(models[0]), *(Arm(models[0], guide) for guide in fair))
            known = {_key(arm) for arm in asked}
            asked += [arm for arm in cheapest if _key(arm) not in known]
        ended = False
        for at, arm in enumerate(asked):
            purpose: Purpose = "audit" if drawn and not at else "shadow"
            ok = yield from self._attempt(found, request, reference, arm.model, arm.guide, purpose, drawn=bool(drawn))
            if ok is None:
                return
            ended = ended or ok
        if not ended:
            yield from self._try_all(found, request, reference, models, guides, set(map(_key, asked)), write)

    def _try_all(
        self,
        found: Findings,
        request: Request,
        reference: Reply,
        models: Sequence[str],
        guides: Sequence[Guide],
        tried: set[tuple[str, str | None]],
        write: bool,
    ) -> Steps[None]:
        """Try what was not tried yet up to what works, or the judge cannot tell; at last have a guide written."""
        for model in models:
            for guide in (None, *guides[: self.guide_tries]):
                if (model, guide.id if guide else None) in tried:
                    continue
                if (yield from self._attempt(found, request, reference, model, guide)) is not False:
                    return
        if self.write_guides and write and models:
            yield from self._write(found, request, reference, models[0])

    def _write(self, found: Findings, request: Request, reference: Reply, model: str) -> Steps[None]:
        asked = guide_request(request, reference, self.style)
        written = yield from ask(self.author, asked, purpose="guide")
        text = parse_guide(written.text)
        found.refused = check_guide(text, request, reference, self.check)
        if found.refused is not None:
            return
        draft = _draft(request, text)
        for sample in range(self.samples):
            sampling = FRESH if sample else None
            ok = yield from self._attempt(found, request, reference, model, draft, "guide", sampling=sampling)
            if sample == 0 and not ok:
                found.refused, found.failed = "did not help on its own request", text
                return
            found.guide = text

    def _attempt(
        self,
        found: Findings,
        request: Request,
        reference: Reply,
        model: str,
        guide: Guide | None,
        purpose: Purpose = "shadow",
        *,
        sampling: Sampling | None = None,
        drawn: bool = False,
    ) -> Steps[bool | None]:
        candidate = found.drafts.get(model) if guide is None and sampling is None else None
        if candidate is None:
            candidate = yield from ask(model, request, guide=guide, purpose=purpose, sampling=sampling)
        verdict = yield from self._judge(request, reference, candidate)
        if verdict.agrees is None:
            found.give_up(verdict)
        else:
            found.reference = verdict.reference
            signs = signs_of(request, candidate, found.before(model)) if guide is None else ()
            found.attempts.append(_attempt(candidate, guide, verdict, signs, drawn=drawn))
        return verdict.agrees

    def _judge(self, request: Request, reference: Reply, candidate: Reply) -> Steps[Verdict]:
        if reference.empty:
            return Verdict(None, "none", "the strong model's answer is empty")
        if candidate.empty:
            return Verdict(False, "none", f"the {candidate.model} model's answer is empty")
        return (yield from self.judge.steps(request, reference, candidate))


def _key(arm: Arm) -> tuple[str, str | None]:
    return arm.model, arm.guide.id if arm.guide else None


def _attempt(reply: Reply, guide: Guide | None, verdict: Verdict, signs: Signs, *, drawn: bool) -> Attempt:
    assert verdict.agrees is not None  # what no judge could tell is no attempt
    return Attempt(reply.model, guide, verdict.agrees, verdict.judge, verdict.gap, verdict.harmful, drawn, reply, signs)


def _draft(request: Request, text: str) -> Guide:
    assert request.embedding is not None  # only requests with a key are learned from
    return Guide(
        DRAFT, request.namespace, request.task, text, request.embedding, author="", origin="", style=style_of(text)
    )
