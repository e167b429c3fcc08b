"""Judges: does a weak answer agree with the strong one?

The local judges compare without a model call; `LLMJudge` asks a model; `AutoJudge` picks by the form of the reference,
which is always the strong model's reply. All share three rules. Where the reference is empty or lacks what is compared,
a judge cannot tell. A candidate that is empty or lacks what the reference has does not agree. Nor does one that adds
something that could harm whoever believes it (`rar.learning.additions`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias, runtime_checkable

from rar.answers import (
    HEDGES,
    SENTENCE,
    SHORT,
    are_twins,
    asks_yes_or_no,
    find_number,
    form_of,
    is_short,
    json_value,
    letter,
    numbers_in,
    question_of,
    said,
    shown,
    tool_names,
    tools,
    wording,
    words_of,
    yes_or_no,
)
from rar.embedding.base import Embedder
from rar.errors import ConfigurationError, UnknownNameError
from rar.learning.additions import added, only_frames
from rar.learning.asking import RULING, comparison, digest_of
from rar.learning.asking import quoted as quoted  # noqa: PLC0414 - for judges of one's own
from rar.naming import fields_repr, function_name
from rar.naming import shown as named
from rar.options import COSINE, named_arguments
from rar.strategy import Steps, ask
from rar.values import STRONG, Reply, Request


@dataclass(frozen=True, slots=True)
class Verdict:
    """`agrees` is None where the judge cannot tell. Then nothing is learned.

    Args:
        gap: Strong less weak quality, -1.0 to 1.0, from a judge that grades. None: 0 if it agrees, else 1.
        reference: Quality of the strong answer, 0.0 to 1.0, from a judge that grades.
        harmful: The candidate would have the user call, visit, pay or give something that the reference does not name.
    """

    agrees: bool | None
    judge: str
    why: str = ""
    gap: float | None = None
    reference: float = 1.0
    harmful: bool = False

    @property
    def gap_or_verdict(self) -> float | None:
        """The gap, graded or by the verdict alone; None where the judge cannot tell."""
        if self.agrees is None:
            return None
        return self.gap if self.gap is not None else 1.0 - self.agrees


@runtime_checkable
class Judge(Protocol):
    """Says whether `candidate` agrees with `reference`; asks models only through `ask` (purpose `"judge"`)."""

    @property
    def name(self) -> str: ...

    def steps(self, request: Request, reference: Reply, candidate: Reply) -> Steps[Verdict]: ...


Opinion: TypeAlias = tuple[bool | None, str]
JudgeFunction: TypeAlias = Callable[[Request, Reply, Reply], "bool | None"]


class _Local:
    """A judge without model calls: a subclass compares two replies that are both not empty.

    `whole` says that whole texts are compared, not only the result that stands in them.
    """

    __slots__ = ()
    name = ""
    whole = False

    def compare(self, request: Request, reference: Reply, candidate: Reply) -> Opinion:
        raise NotImplementedError

    def verdict(self, request: Request, reference: Reply, candidate: Reply) -> Verdict:
        if empty := of_empty(self.name, reference, candidate):
            return empty
        verdict = _verdict(self.name, self.compare(request, reference, candidate))
        return guarded(verdict, request, reference, candidate, whole=self.whole)

    def steps(self, request: Request, reference: Reply, candidate: Reply) -> Steps[Verdict]:
        return self.verdict(request, reference, candidate)
        yield []  # makes this a generator


def _verdict(judge: str, opinion: Opinion) -> Verdict:
    agrees, why = opinion
    return Verdict(agrees, judge, why)


_LONG = 2_000  # characters of two answers, which are then looked at only if they are taken to agree


def guarded(verdict: Verdict, request: Request, reference: Reply, candidate: Reply, *, whole: bool) -> Verdict:
    """`verdict`, but for a candidate that adds what it must not: that one never agrees."""
    if not verdict.agrees and len(reference.text) + len(candidate.text) > _LONG:
        return verdict  # it teaches nothing in any case
    addition = added(request, reference, candidate, strict=whole)
    if addition is None or not (verdict.agrees or addition.reaches_out):
        return verdict
    why = f"it adds {addition.what}" + (f"; else {verdict.why}" if verdict.why else "")
    # A number or an order more may be another way to say the same. A link more never is.
    agrees = False if addition.reaches_out else None
    return replace(verdict, agrees=agrees, why=why, gap=None, harmful=addition.reaches_out)


def of_empty(judge: str, reference: Reply, candidate: Reply) -> Verdict | None:
    """The verdict where one of the two says nothing (a thought alone says nothing)."""
    if not shown(reference):
        return Verdict(None, judge, "the reference is empty")
    return None if shown(candidate) else Verdict(False, judge, "the candidate is empty")


@dataclass(frozen=True, slots=True)
class ExactJudge(_Local):
    """The same words, whatever their case, spacing and edge punctuation; a yes or no counts by its first word."""

    name = "exact"
    whole = True

    def compare(self, request: Request, reference: Reply, candidate: Reply) -> Opinion:
        expected, given = said(reference), said(candidate)
        if wording(reference) == wording(candidate):
            return True, "same text"
        if (polar := yes_or_no(expected)) and (is_short(expected) or asks_yes_or_no(request)):
            answer = yes_or_no(given)
            return (
                (None, "no yes or no in the candidate") if answer is None else (answer == polar, f"{polar} / {answer}")
            )
        return False, "other text"


@dataclass(frozen=True, slots=True)
class LetterJudge(_Local):
    """The same option of a multiple-choice question, named by its letter or by its text."""

    name = "letter"

    def compare(self, request: Request, reference: Reply, candidate: Reply) -> Opinion:
        expected, given = letter(request, reference), letter(request, candidate)
        if expected is None:
            return None, "no option in the reference"
        return expected == given, f"{expected} / {given or 'no option'}"


@dataclass(frozen=True, slots=True)
class NumberJudge(_Local):
    """The same final number. Units are ignored, and so is rounding from two decimals on (33.33 agrees with 33.3333)."""

    name = "number"

    def compare(self, request: Request, reference: Reply, candidate: Reply) -> Opinion:
        expected, text = find_number(said(reference)), said(candidate)
        if expected is None:
            return None, "no number in the reference"
        given = find_number(text)
        if given is None:
            return False, f"{expected.value} / no number"
        why = f"{expected.value} / {given.value}"
        if expected.close_to(given):
            return True, why
        if not given.marked and any(expected.close_to(number) for number in numbers_in(text)):
            return None, f"{why}, which may not be the candidate's final number"
        return False, why


@dataclass(frozen=True, slots=True)
class JsonJudge(_Local):
    """Equal JSON values, fenced or bare: key order does not matter, 1 equals 1.0, outer space of strings is ignored."""

    name = "json"

    def compare(self, request: Request, reference: Reply, candidate: Reply) -> Opinion:
        expected, given = json_value(reference), json_value(candidate)
        if expected is None:
            return None, "no JSON in the reference"
        return expected == given, "no JSON in the candidate" if given is None else "JSON compared"


@dataclass(frozen=True, slots=True)
class ToolsJudge(_Local):
    """The same tools called with equal arguments, in any order."""

    name = "tools"

    def compare(self, request: Request, reference: Reply, candidate: Reply) -> Opinion:
        if not reference.tool_calls and not candidate.tool_calls:
            return None, "no tool calls"
        expected, given = tool_names(reference), tool_names(candidate)
        if expected != given:
            return False, f"{expected} / {given}"
        return tools(reference) == tools(candidate), f"arguments of {expected}"


@dataclass(frozen=True, slots=True)
class EmbeddingJudge(_Local):
    """Cosine of the two texts: agrees from `agree` on, disagrees below `disagree`, between them it cannot tell.

    Texts whose numbers or negations differ never agree by similarity, because embeddings hardly see the difference.
    """

    embedder: Embedder
    agree: float = 0.92
    disagree: float = 0.5
    name = "embedding"
    whole = True

    __repr__ = fields_repr

    def __post_init__(self) -> None:
        COSINE("agree", self.agree)
        COSINE("disagree", self.disagree)
        if not -1.0 <= self.disagree <= self.agree <= 1.0:
            found = f"disagree={self.disagree}, agree={self.agree}"
            raise ConfigurationError(f"An embedding judge needs -1 <= disagree <= agree <= 1, got {found}.")

    def compare(self, request: Request, reference: Reply, candidate: Reply) -> Opinion:
        expected, given = said(reference), said(candidate)
        if not expected or not given:
            return None, "no text to compare"
        first, second = self.embedder.embed([expected, given])
        cosine = float(first @ second)
        why = f"cosine {cosine:.3f}"
        if cosine < self.disagree:
            return False, why
        if cosine < self.agree:
            return None, why
        return (None, f"{why}, but numbers or negations differ") if are_twins(expected, given) else (True, why)


@named_arguments
@dataclass(frozen=True, slots=True)
class LLMJudge:
    """Asks `model` in both orders whether two answers say the same. Where the two rulings differ, it cannot tell.

    Both orders are asked because models favour a position: pairwise judging after Zheng et al. 2023 (arXiv 2306.05685).
    The same two answers to one question are compared once.

    Args:
        model: Name of the model that judges. None: the cheapest that is able to, which is the next dearer one than that
            whose answer is judged.
    """

    model: str | None = None
    name = "llm"
    _known: dict[bytes, Verdict] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.model is not None and not isinstance(self.model, str):
            raise ConfigurationError(
                f"model={named(self.model)} is no name. Name the model that judges: 'strong', 'weak', or of `models=`."
            )

    def steps(self, request: Request, reference: Reply, candidate: Reply) -> Steps[Verdict]:
        if empty := of_empty(self.name, reference, candidate):
            return empty
        asked = comparison(request, reference, candidate)
        key = digest_of(asked)
        if (known := self._known.get(key)) is not None:
            return known
        model = self.model or _next_dearer(request, candidate.model)
        rulings = []
        for question in (asked, comparison(request, candidate, reference)):
            reply = yield from ask(model, question, purpose="judge")
            ruling = RULING.search(said(reply))
            if ruling is None:
                return Verdict(None, self.name, "no [[same]] or [[different]] at the end of the judge's reply")
            rulings.append(ruling[1].lower())
        if rulings[0] == rulings[1]:
            verdict = Verdict(rulings[0] == "same", self.name, f"{rulings[0]} in both orders")
            verdict = guarded(verdict, request, reference, candidate, whole=True)
        else:
            verdict = Verdict(None, self.name, f"{rulings[0]}, and {rulings[1]} in the other order")
        if len(self._known) >= _KNOWN:
            self._known.pop(next(iter(self._known)))
        self._known[key] = verdict
        return verdict


_KNOWN = 1_000  # comparisons that are kept in mind


def _next_dearer(request: Request, model: str) -> str:
    """The model that costs next more than one whose answer is judged: none marks its own, nor a better one's."""
    names = [] if request.evidence is None else [standing.model for standing in request.evidence.standings]
    dearer = names[names.index(model) + 1 :] if model in names else []
    return dearer[0] if dearer else STRONG


@dataclass(frozen=True, slots=True)
class AutoJudge:
    """Picks judges by the form of the reference, cheapest first, and asks `llm` only where no other can tell."""

    embedder: Embedder | None = None
    llm: Judge | None = None
    name = "auto"

    __repr__ = fields_repr

    def steps(self, request: Request, reference: Reply, candidate: Reply) -> Steps[Verdict]:
        if empty := of_empty(self.name, reference, candidate):
            return empty
        verdict = Verdict(None, self.name)
        for judge in self.panel(request, reference, candidate):
            verdict = yield from judge.steps(request, reference, candidate)
            if verdict.agrees is not None:
                break
        return verdict

    def panel(self, request: Request, reference: Reply, candidate: Reply) -> list[Judge]:
        """The judges that are asked in turn until one can tell."""
        if reference.tool_calls or candidate.tool_calls:
            return [ToolsJudge()]
        form = form_of(request, reference)
        if form in _OF_ONE_FORM:
            return [_OF_ONE_FORM[form]]
        first = ExactJudge() if form == "yes_no" else _SameWords()
        by_similarity = [EmbeddingJudge(self.embedder)] if self.embedder else []
        return [first, *by_similarity, *([self.llm] if self.llm else [])]


@dataclass(frozen=True, slots=True)
class _SameWords(_Local):
    """Equal texts, or a short answer in a short sentence, agree; of others it cannot tell."""

    name = "exact"
    whole = True

    def compare(self, request: Request, reference: Reply, candidate: Reply) -> Opinion:
        expected, given = words_of(said(reference)), words_of(said(candidate))
        if expected == given:
            return True, "same text"
        inside = f" {' '.join(expected)} " in f" {' '.join(given)} "
        hedged = not HEDGES.isdisjoint(given) and HEDGES.isdisjoint(expected)
        # What comes after it are the question's own words: other ones may say something more.
        after = f" {' '.join(given)} ".partition(f" {' '.join(expected)} ")[2].split()
        framed = only_frames(after, question_of(request))
        if inside and len(expected) <= SHORT and len(given) <= SENTENCE and not hedged and framed:
            return True, "the candidate contains the reference"
        return None, "other text"


_OF_ONE_FORM: Mapping[str, Judge] = {"json": JsonJudge(), "letter": LetterJudge(), "number": NumberJudge()}


@dataclass(frozen=True, slots=True)
class _FunctionJudge(_Local):
    function: JudgeFunction

    __repr__ = fields_repr

    @property
    def name(self) -> str:  # type: ignore[override]
        return function_name(self.function)

    def compare(self, request: Request, reference: Reply, candidate: Reply) -> Opinion:
        opinion = self.function(request, reference, candidate)
        if opinion is None or type(opinion).__name__ in ("bool", "bool_"):  # NumPy's too
            return None if opinion is None else bool(opinion), ""
        return None, f"the function returned {named(opinion)}, and must return True, False or None"


@dataclass(frozen=True, slots=True)
class InTurn:
    """Asks each judge where those before it cannot tell."""

    judges: tuple[Judge, ...]

    @property
    def name(self) -> str:
        return ", then ".join(judge.name for judge in self.judges)

    def steps(self, request: Request, reference: Reply, candidate: Reply) -> Steps[Verdict]:
        verdict = Verdict(None, self.name)
        for judge in self.judges:
            verdict = yield from judge.steps(request, reference, candidate)
            if verdict.agrees is not None:
                break
        return verdict


def as_judge(value: str | Judge | JudgeFunction | Sequence[Any], *, embedder: Embedder | None = None) -> Judge:
    """The judge for a name, a judge, a function `(request, reference, candidate) -> bool | None`, or a list of these.

    Raises:
        UnknownNameError: No judge has this name.
        ConfigurationError: The embedding judge is asked for without an embedder, or a list holds none.
    """
    if isinstance(value, (list, tuple)):
        if not value:
            raise ConfigurationError("judge=[] names no judge. Name one or more, for example ['auto', 'llm'].")
        return InTurn(tuple(as_judge(one, embedder=embedder) for one in value))
    if isinstance(value, Judge):
        return value
    if callable(value):
        return _FunctionJudge(value)
    if value == "embedding" and embedder is None:
        raise ConfigurationError("judge='embedding' needs an embedder. Pass `embedder=`, or another judge.")
    judges: dict[str, Callable[[], Judge]] = {
        "auto": lambda: AutoJudge(embedder),
        "letter": LetterJudge,
        "number": NumberJudge,
        "json": JsonJudge,
        "exact": ExactJudge,
        "tools": ToolsJudge,
        "embedding": lambda: EmbeddingJudge(embedder),  # type: ignore[arg-type]  # checked above
        "llm": LLMJudge,
    }
    if not isinstance(value, str) or value not in judges:
        raise UnknownNameError("judge", value, judges)
    return judges[value]()
