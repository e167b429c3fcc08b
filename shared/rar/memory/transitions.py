"""What becomes of a memory's records as more is written: the rules of every backend, which only stores. Pure.

A backend reads what it holds, passes it here with what arrives, and stores what is returned. Each rule stands once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, Final, TypeAlias

from rar.guide_scan import guide_flaw
from rar.memory.base import ALARM, DecisionRecord, JudgedAnswers, Label, PolicyState, PolicyStep, Spend
from rar.memory.exchange import KeptGuide
from rar.memory.identity import experience_id, keyed_digest
from rar.memory.origins import imported, joined, shortened
from rar.memory.pairing import Paired
from rar.sameness import signature
from rar.values import Experience, Guide, GuideState, Origin, Tally, Trial

DAY: Final = 86_400.0
MONTH: Final = 30 * DAY  # by which each trial, up to two, has a record kept longer
MOST: Final = 2**48  # of a day's calls or tokens: many such days still add up to what 64 bits can hold
PROMOTE_AT: Final = 2  # other requests than its own on which a candidate must have helped to become active
OF_ONE_KIND: Final = 0.85  # cosine of what guides were written for, from which it is one kind
SAYS_THE_SAME: Final = 0.92  # share of words in common from which guides say the same
RETIRE_AT: Final = 3  # harmful trials without which no guide is retired soon
AUDITS_KEPT: Final = 600  # that a mean of what audits found goes back
CALLS_KEPT: Final = 500  # that means over served answers go back
LOW: Final = 0.1  # which quantile of confidences a threshold stays above, and by how much one moves it
LOW_RATE: Final = 0.05
LATE: Final = 60  # shadows that tell whether requests have become harder
USUAL: Final = 600  # than those before
YOUNG: Final = 20  # shadows that a mean of 0 counts for
UNREAD: Final = 10  # answers that a reference model held to be perfect counts for
SPENT_ON: Final = ("namespace", "purpose", "role", "model_id")  # by what spending is summed, beside the day

# --- experiences and their tallies ----------------------------------------------------------------------------------


def replaced(known: Experience, new: Experience) -> Experience:
    """An experience that is written again: it keeps its place, its tallies and its age."""
    return replace(
        known,
        text=new.text,
        signature=new.signature,
        embedding=new.embedding,
        updated_at=new.updated_at,
        source=new.source,
    )


def tally_of(trial: Trial) -> Tally:
    """A trial as a tally of its own, to be merged with the one that has its ids."""
    ok = int(trial.ok)
    where = Origin(trial.context, trial.user, ok, 1 - ok, trial.ok, trial.at)
    return Tally(
        trial.guide_id, trial.weak_id, trial.strong_id, ok, 1 - ok, trial.ok, trial.at, trial.gap, trial.weight,
        shortened((where,)),
    )  # fmt: skip


def merged(known: Tally | None, new: Tally) -> Tally:
    """Two tallies of one request, guide and pair of models; the last to arrive is the last, whatever its clock says."""
    if known is None:
        return new
    gapless = known.gap is None and new.gap is None
    return replace(
        known,
        ok=known.ok + new.ok,
        bad=known.bad + new.bad,
        last_ok=new.last_ok,
        at=new.at,
        gap=None if gapless else _gap(known) + _gap(new),
        weight=max(known.weight, new.weight),
        origins=joined(known, new),
    )


def _gap(tally: Tally) -> float:
    return tally.bad if tally.gap is None else tally.gap


# --- what is kept under the cap -------------------------------------------------------------------------------------


def kept_until(known: float, at: float, trials: int) -> float:
    """Until when an experience counts as used that was written or tried at `at`, and tried so often in all.

    Args:
        known: Until when it counted so before.
    """
    return max(known, at + min(trials, 2) * MONTH)


def used_until(known: float, at: float) -> float:
    """The same for one that a decision at `at` went by: as if it had been tried twice. It moves once a day at most."""
    until = at + 2 * MONTH
    return until if known < until - DAY else known


def went_by(record: DecisionRecord) -> bool:
    """Whether a decision was about a known experience, which is a use of it."""
    known = record.facts.get("neighbours") or ()
    return any(neighbour.get("experience_id") == record.experience_id for neighbour in known)


def surplus(count: int, cap: int) -> int:
    """How many of a namespace's experiences go: the least `kept_until` first, ties by id.

    Some more than are over the cap, so that it is not due at every write.
    """
    return count - cap + min(cap // 100, 256) if count > cap else 0


# --- guides ---------------------------------------------------------------------------------------------------------


def replaced_guide(known: Guide, new: Guide) -> Guide:
    """A guide that is written again: it keeps its counts, and the state that a person gave it."""
    return replace(
        known,
        text=new.text,
        author=new.author,
        origin=new.origin,
        style=new.style,
        embedding=new.embedding,
        state=known.state if known.pinned else new.state,
    )


def double_of(guide: Guide, known: Iterable[Guide]) -> Guide | None:
    """The oldest other guide that says nearly the same for the same kind of request, if there is one.

    A double is retired, and its trials count for that one: two records of one text would each be too short.
    """
    words, numbers = _said(guide)
    for other in sorted(known, key=lambda one: one.created_at):
        if other.id == guide.id or other.created_at > guide.created_at:
            continue
        kind = (other.namespace, other.task, other.style) == (guide.namespace, guide.task, guide.style)
        if not kind or float(other.embedding @ guide.embedding) < OF_ONE_KIND:
            continue
        others, theirs = _said(other)
        if numbers == theirs and (words & others).total() >= SAYS_THE_SAME * (words | others).total():
            return other
    return None


def _said(guide: Guide) -> tuple[Counter[str], Counter[str]]:
    """A guide's words, and the numbers among them: by one number another thing is said."""
    words = Counter(re.findall(r"\w+", guide.text.casefold()))
    return words, Counter({word: count for word, count in words.items() if word.isdecimal()})


def tried(guide: Guide, *, ok: bool, own: bool, paired: Paired) -> Guide:
    """A guide after one more trial.

    Args:
        own: On the request that it was written for. It was kept because it worked there, so that this proves nothing.
        paired: What it came to by now.
    """
    if own:
        return guide
    helpful, harmful = guide.helpful + ok, guide.harmful + (not ok)
    state = guide.state if guide.pinned else next_state(guide.state, helpful, harmful, paired)
    return replace(guide, helpful=helpful, harmful=harmful, state=state)


def next_state(state: GuideState, helpful: int, harmful: int, paired: Paired) -> GuideState:
    """The state after trials have been counted.

    A candidate becomes active once it helped on `PROMOTE_AT` requests that are not the one that it was written for,
    where the model alone had not worked, and more often than it did harm. So nobody makes a guide active by one
    message. A candidate or active guide is retired if the model does not do better with it than alone, or, where that
    is not known, once it failed `RETIRE_AT` times and works in less than two thirds of its trials. A retired or
    quarantined guide stays what it is.
    """
    if state not in ("candidate", "active"):
        return state
    fails = paired.failed >= RETIRE_AT and 2 * harmful > helpful
    if paired.hopeless or (fails and not paired.better):
        return "retired"
    if state == "active":
        return "active"
    promoted = paired.helped >= PROMOTE_AT and (helpful > harmful or paired.better)
    return "active" if promoted else "candidate"


def decided(guide: Guide, state: GuideState, *, anyway: bool) -> Guide:
    """A guide whose state a person set."""
    return replace(guide, state=state, pinned=True, anyway=anyway)


# --- policy and spending --------------------------------------------------------------------------------------------


def moved(state: PolicyState, step: PolicyStep) -> PolicyState:
    """The policy state after a step. One that rings the alarm begins it anew: the model is held to be another."""
    if step.changed > state.since:
        return moved(replace(state, threshold=None, calls=0, since=step.changed), step)
    start = step.start if state.threshold is None else state.threshold
    drift = max(state.drift + (step.surprise or 0.0), 0.0)
    # A clock that was ahead must not date a change into the future, where no trial would count till then.
    quiet = min(state.quiet, step.at) if drift else step.at
    told = _served(_shadowed(_audited(state, step), step), step)
    if drift >= ALARM:
        return PolicyState(errors=told.errors, reference=told.reference, quiet=step.at, since=quiet)
    threshold = min(max(start + step.delta, step.low, told.low), step.high)
    since = min(state.since, step.at)
    return replace(told, threshold=threshold, calls=state.calls + 1, drift=drift, quiet=quiet, since=since)


def _audited(state: PolicyState, step: PolicyStep) -> PolicyState:
    """With what an audit found."""
    audits, errors = state.audits + step.audit, state.errors + step.error
    if step.residual is None:
        return replace(state, audits=audits, errors=errors) if step.audit or step.error else state
    newest = 1.0 / min(audits + step.inertia, AUDITS_KEPT)
    bias = state.bias + newest * (step.residual - state.bias)
    spread = state.spread + newest * (step.residual**2 - state.spread)
    return replace(state, audits=audits, errors=errors, bias=bias, spread=spread)


def _shadowed(state: PolicyState, step: PolicyStep) -> PolicyState:
    """With what a shadow showed, lately and in the long run."""
    if step.shadow is None:
        return state
    shadows = state.shadows + 1
    late = state.late + (step.shadow - state.late) / min(shadows + YOUNG, LATE)
    usual = state.usual + (step.shadow - state.usual) / min(shadows + YOUNG, USUAL)
    return replace(state, late=late, usual=usual, shadows=shadows)


def _served(state: PolicyState, step: PolicyStep) -> PolicyState:
    """With what was expected of a request, and what its answer is expected to lose."""
    newest = 1.0 / min(state.calls + UNREAD, CALLS_KEPT)
    reference, low, lost, share = state.reference, state.low, state.lost, state.share
    if step.reference is not None:
        reference += min(newest * step.stands, 1.0 / UNREAD) * (step.reference - reference)
    if step.confidence is not None:
        low += LOW_RATE * (LOW - (step.confidence < low))
    if step.loss is not None:
        lost, share = lost + newest * (step.loss - lost), share + newest * (step.cheaper - share)
    return replace(state, reference=reference, low=low, lost=lost, share=share)


def added(known: Spend | None, spend: Spend) -> Spend:
    """Spending of one day, purpose, role and model with more of it. What would overflow is cut."""
    sums: dict[str, Any] = {name: _sum(known, spend, name) for name in _SUMMED}
    return replace(spend, **sums)


def summed(spending: Iterable[Spend]) -> list[Spend]:
    """Spending of several days, by namespace, purpose, role and model."""
    sums: dict[tuple[str, ...], Spend] = {}
    for spend in spending:
        key = tuple(getattr(spend, name) for name in SPENT_ON)
        known = sums.get(key)
        counts: dict[str, Any] = {name: getattr(known, name, 0) + getattr(spend, name) for name in _SUMMED}
        sums[key] = replace(spend, **counts)
    return [sums[key] for key in sorted(sums)]


_SUMMED = tuple(field.name for field in fields(Spend) if field.name not in SPENT_ON)


def _sum(known: Spend | None, spend: Spend, name: str) -> float:
    whole: float = getattr(known, name, 0) + getattr(spend, name)
    return min(whole, MOST) if isinstance(whole, int) else whole


# --- imports --------------------------------------------------------------------------------------------------------


def rekeyed(experience: Experience, secret: bytes) -> Experience:
    """An experience of another memory under the id that it has in this one.

    The other memory's secret is not known here. So id and signature are made anew from the text; an experience without
    text keeps its old id, and is found as similar but no more as the same.
    """
    experience = replace(experience, tallies=tuple(map(imported, experience.tallies)))
    if experience.text is None:
        return experience
    id = experience_id(secret, experience.namespace, experience.task, experience.text)
    return replace(experience, id=id, signature=keyed_digest(secret, signature(experience.text)))


Naming: TypeAlias = KeptGuide | DecisionRecord | Label | JudgedAnswers  # what names experiences


def renamed(item: Naming, ids: Mapping[str, str]) -> Naming:
    """What names an experience of another memory, by the id that this has here."""
    if not isinstance(item, KeptGuide):
        return replace(item, experience_id=ids.get(item.experience_id, item.experience_id))
    return replace(item, guide=replace(item.guide, origin=ids.get(item.guide.origin, item.guide.origin)))


def admitted(kept: KeptGuide, others: int) -> Guide:
    """A guide of another memory as it is taken in, whatever it was there.

    Args:
        others: Requests of this memory on which it helped, but for the one that it was written for.
    """
    guide, pinned = kept.guide, kept.pinned
    if guide.state in ("candidate", "active") and guide_flaw(guide.text) is not None:
        state: GuideState = "quarantined"
    else:
        state = "candidate" if guide.state == "active" and not pinned and others < PROMOTE_AT else guide.state
    return replace(guide, state=state, pinned=pinned, anyway=False)


def kept_guide(kept: KeptGuide) -> Guide:
    """A guide of a memory whose copy this is."""
    return replace(kept.guide, pinned=kept.pinned)
