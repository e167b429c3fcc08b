"""What an answer says, in a form that can be compared: its option, number, yes or no, JSON, tool calls, or words.

Shared by judges, votes, cascades and guides. `as_extractor` gives a function of a request and a reply. Whatever a user
or a model wrote is looked at in time that grows with its length and no faster. Patterns see clipped texts, and none of
them tries the same characters again and again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from rar.errors import UnknownNameError
from rar.texts import clipped
from rar.values import Reply, Request, ToolCall

SHORT, SENTENCE = 5, 25  # words
_THINKING = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_EDGES = ".,;:!?…\"'“”‘’*_`()[]"
_NEGATIONS = frozenset({"no", "not", "never", "none", "nothing", "nobody", "neither", "nor", "without", "cannot"})
HEDGES = _NEGATIONS | {"or", "either", "but"}
_POLAR = re.compile(r"[\s*_\"'(]*(yes|no|true|false)\b(?=[\s*_\"')]*(?:\Z|[.,;:!\n–—-]))", re.IGNORECASE)
_POLAR_QUESTION = re.compile(
    r"(?:\A|[.!?:\n][^\S\n]*)(?:is|are|was|were|do|does|did|has|have|had|can|could|should|would|will|may|must)\s+(?!you\b)"
    r"|\btrue or false\b|\byes or no\b",
    re.IGNORECASE,
)


def said(reply: Reply) -> str:
    """The reply's text without the thinking that some models show before it."""
    return without_thinking(reply.text)


def without_thinking(text: str) -> str:
    return _THINKING.sub("", text).strip()


def shown(reply: Reply) -> str:
    calls = [f"[calls {call.name} with {canonical(dict(call.arguments))}]" for call in reply.tool_calls]
    return "\n".join([*filter(None, [said(reply)]), *calls])


def question_of(request: Request) -> str:
    """What was asked, whole: a key may leave out the options that follow a question."""
    users = [message.text for message in request.messages if message.role == "user"]
    return users[-1] if users else request.key or ""


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation and emphasis at their edges; a lone symbol stays."""
    return [word.strip(_EDGES) or word for word in text.lower().replace("\u2019", "'").split()]


def is_short(text: str) -> bool:
    return len(text.split(None, SHORT)) <= SHORT


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def yes_or_no(text: str) -> str | None:
    found = _POLAR.match(text)
    return found[1].lower() if found else None


def asks_yes_or_no(request: Request) -> bool:
    return bool(_POLAR_QUESTION.search(clipped(question_of(request)).strip()))


def are_twins(one: str, other: str) -> bool:
    """Whether numbers or negations differ, as they do in texts that are alike and say opposite things."""
    return Counter(number.value for number in numbers_in(one)) != Counter(
        number.value for number in numbers_in(other)
    ) or _negations(one) != _negations(other)


def _negations(text: str) -> int:
    return sum(word in _NEGATIONS or word.endswith("n't") for word in words_of(text))


_OPTION = re.compile(r"(?:^|(?<=\s))\(?([A-J])[).:][ \t]+(\S.*?)(?=\s+\(?[A-J][).:][ \t]|[ \t]*$)", re.MULTILINE)
_LETTER = r"[\s*_\"'(\[{]*(?:\\text\{)?([A-J])(?![\w'\u2019+#])(?! (?!because|since|as|which|is|here)[a-z])"
_NAMED = re.compile(
    r"(?:\b(?i:answer|choice|option)\b(?i:\s+(?:choice|option))?[\s*_]*(?::|(?i:is|would be|=))"
    r"(?:[\s*_]*(?i:option|choice))?|\\boxed\{|\b(?i:choose|select|pick)\b(?:[\s*_]*(?i:option|choice))?)" + _LETTER
)
_CALLED_RIGHT = re.compile(r"\b([A-J])\)?[*_]* is (?:the )?(?:correct|right|best)\b")
# What leads a line is taken whole (a look-ahead never gives back), since the stars after it may be the same ones.
_LED = re.compile(
    r"(?=(?P<lead>[\s*_#>]*))(?P=lead)(?i:option\s+|choice\s+)?\(?\**(?P<letter>[A-J])(?:\**[).:]|\**\s*\Z)"
)


def find_options(text: str) -> dict[str, str]:
    """The options of a multiple-choice question by letter; empty where there are not at least A and B."""
    options: dict[str, str] = {}
    # Runs of blanks would make the pattern try every end of an option at each of them.
    for letter, option in _OPTION.findall(re.sub(r"[^\S\n]+", " ", clipped(text))):
        if letter == chr(ord("A") + len(options)):
            options[letter] = option
    return options if len(options) > 1 else {}


def find_letter(text: str, options: dict[str, str]) -> str | None:
    """The option that `text` settles on, named by its letter ("B", "The answer is **B**", "B) text") or by its text."""
    text, known = clipped(text), set(options) or set("ABCDEFGHIJ")
    whole = [letter for letter, option in options.items() if words_of(option) == words_of(text)]
    if len(whole) == 1 and text.strip(" ()*.") not in known:
        return whole[0]
    named = [letter for letter in [*_CALLED_RIGHT.findall(text), *_NAMED.findall(text)] if letter in known]
    if named:
        return str(named[-1])
    lines = [line for line in text.splitlines() if line.strip()]
    led = [found["letter"] for line in lines if (found := _LED.match(line)) and found["letter"] in known]
    if len(set(led)) == 1:
        return str(led[0])
    return _option_by_text(text, options)


def _option_by_text(text: str, options: dict[str, str]) -> str | None:
    sentence = f" {' '.join(words_of(text))} "
    texts = {letter: f" {' '.join(words_of(option))} " for letter, option in options.items()}
    found = [letter for letter, option in texts.items() if option.strip() and option in sentence]
    # "loss of taste" stands inside "loss of taste and smell": the longer one was meant.
    longest = [a for a in found if not any(texts[a] != texts[b] and texts[a] in texts[b] for b in found)]
    return longest[0] if len(longest) == 1 else None


def is_choice(request: Request, text: str) -> bool:
    options, text = find_options(question_of(request)), clipped(text)
    if options:
        return find_letter(text, options) is not None
    last = _last_line(text)
    return bool(re.fullmatch(r"[\s*_(]*[A-J][\s*_).]*", text)) or (is_short(last) and bool(_NAMED.search(last)))


_MINUS = "−"
_NUMBER = re.compile(
    rf"(?<![\w.^])(?P<sign>[-{_MINUS}])?[ ]?[$€£¥]?[ ]?"
    rf"(?:\\d?frac\{{(?P<over>\d+)\}}\{{(?P<under>\d+)\}}"
    r"|(?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?:[ ]?/[ ]?(?P<divisor>\d+)(?![\d/]))?"
    r"(?:[eE](?P<e>[+-]?\d{1,3})(?!\w))?"
    rf"(?:\s*(?:[x×*]|\\times|\\cdot)\s*10\s*\^\s*\{{?(?P<power>[+{_MINUS}-]?\d{{1,3}})\}}?)?"
    r"(?:[ ](?P<scale>thousand|million|billion)\b)?)"
)
_SCALES = {"thousand": 3, "million": 6, "billion": 9}
_MARKS = (
    re.compile(r"####[ \t]*(.+)"),
    re.compile(r"\\boxed\{(.{1,99})\}"),
    re.compile(r"\banswer\b(?:[ \t]+is\b|[ \t]*:|[ \t]*=)[\s*:$]*(.+)", re.IGNORECASE),
)
_REASON = re.compile(r"[,;.(]\s|\(|\b(?:because|since|as)\b")
_NUMERIC_QUESTION = re.compile(
    r"\bhow (?:many|much|long|old|far|tall|fast|heavy|big|large|high)\b|\bwhat (?:percent|fraction|number)"
    r"|\b(?:calculate|compute)\b|\btotal\b|\baverage\b",
    re.IGNORECASE,
)
_ARITHMETIC = re.compile(r"\d\D{0,20}[-+*/x×÷][ $€£]{0,3}\d[^=\n]{0,80}=[^=\n\d]{0,20}\d")


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text. `decimals` is None for a fraction; `marked` says that the text calls it its answer."""

    value: Decimal
    decimals: int | None
    marked: bool = False

    def close_to(self, other: Number) -> bool:
        """Equal, or equal once both are rounded to the decimals of the one that has fewer, if that has at least two."""
        if self.value == other.value:
            return True
        decimals = min((d for d in (self.decimals, other.decimals) if d is not None), default=0)
        return decimals >= 2 and abs(self.value - other.value) <= Decimal(5).scaleb(-decimals - 1)


def find_number(text: str) -> Number | None:
    r"""The final number of an answer: after `####`, in `\boxed{}`, after "the answer is", else the last one."""
    text = clipped(text)
    for mark in _MARKS:
        for after in reversed(mark.findall(text)):
            # As in: The answer is 3 x 5 = 15, since 2 + 3 = 5.
            result = _REASON.split(after, maxsplit=1)[0].rpartition("=")[2]
            found = next(numbers_in(result), None) or next(numbers_in(after), None)
            if found:
                return Number(found.value, found.decimals, marked=True)
    return max(enumerate(numbers_in(text)), default=(0, None), key=lambda numbered: numbered[0])[1]


def numbers_in(text: str) -> Iterator[Number]:
    for found in _NUMBER.finditer(clipped(text)):
        yield _number(found)


def _number(found: re.Match[str]) -> Number:
    over = Decimal((found["over"] or found["digits"]).replace(",", ""))
    divisor = Decimal(found["under"] or found["divisor"] or 1)
    exponent = int(found["e"] or 0) + int((found["power"] or "0").replace(_MINUS, "-")) + _SCALES.get(found["scale"], 0)
    value = (over if divisor in (0, 1) else over / divisor).scaleb(exponent)
    _, _, fraction = (found["digits"] or "").partition(".")
    return Number(-value if found["sign"] else value, None if divisor > 1 else max(len(fraction) - exponent, 0))


def answered_option(request: Request, answer: str) -> tuple[str, str] | None:
    """Letter and text (perhaps empty) of the option that `answer` names; None for an answer of another form."""
    options = find_options(question_of(request))
    letter = find_letter(answer, options) if is_choice(request, answer) else None
    return (letter, options.get(letter, "")) if letter else None


def answered_number(request: Request, answer: str) -> Decimal | None:
    """The number that `answer` is or works out; None for an answer of another form."""
    found = find_number(answer) if is_numeric(request, answer) else None
    return found.value if found else None


def is_numeric(request: Request, text: str) -> bool:
    """Whether the reply is a number, or works one out and ends in it."""
    text = clipped(text)
    if _NUMBER.fullmatch(text.strip(_EDGES + "% ")):
        return True
    found = find_number(text)
    if found is None or "```" in text:
        return False
    if _MARKS[0].search(text):
        return True
    in_the_end = {number.value for number in numbers_in(_last_line(text))}
    if _ARITHMETIC.search(text):
        return found.marked or bool(in_the_end)
    # "Within 30 days, see section 4" names two numbers, and nothing says which one was asked for.
    asked = _NUMERIC_QUESTION.search(question_of(request)) is not None
    return asked and (found.marked or len(in_the_end) == 1)


_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)


def find_json(text: str) -> str | None:
    """The one JSON object or array that `text` is or fences, in a canonical form; None where there is none."""
    fenced = _FENCE.findall(text)
    source = (fenced[0] if len(fenced) == 1 else text).strip()
    if not source.startswith(("{", "[")):
        return None
    try:
        return canonical(json.loads(source))
    except (ValueError, RecursionError):
        return None


def canonical(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    """JSON with what does not matter levelled: 1.0 is 1, floats have 9 digits, strings no outer space."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(f"{value:.9g}")
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def tool_names(reply: Reply) -> str:
    return ", ".join(sorted(call.name for call in reply.tool_calls)) or "no tool call"


def multiset(calls: Sequence[ToolCall]) -> Counter[tuple[str, str]]:
    return Counter((call.name, canonical(dict(call.arguments))) for call in calls)


# What a reply says, as a value that equals that of another which says the same; None where it says no such thing.
Extractor: TypeAlias = Callable[[Request, Reply], Hashable]


def letter(request: Request, reply: Reply) -> str | None:
    """The letter of the option that a reply settles on."""
    return find_letter(said(reply), find_options(question_of(request)))


def number(reply: Reply) -> Decimal | None:
    """A reply's final number."""
    found = find_number(said(reply))
    return found.value if found else None


def yes_no(reply: Reply) -> str | None:
    """The yes, no, true or false that a reply begins with."""
    return yes_or_no(said(reply))


def json_value(reply: Reply) -> str | None:
    """The JSON object or array that a reply is or fences, in a canonical form."""
    return find_json(said(reply))


def tools(reply: Reply) -> frozenset[tuple[tuple[str, str], int]] | None:
    """The tools that a reply calls, each with its arguments, in any order."""
    return frozenset(multiset(reply.tool_calls).items()) or None


def wording(reply: Reply) -> str | None:
    """A reply's words, whatever their case, spacing and edge punctuation."""
    return " ".join(words_of(said(reply))) or None


def form_of(request: Request, reply: Reply) -> str:
    """What kind of answer a reply is, which is the name of the extractor for it."""
    if reply.tool_calls:
        return "tools"
    answer = said(reply)
    if find_json(answer) is not None:
        return "json"
    if is_choice(request, answer):
        return "letter"
    if yes_or_no(answer) and (is_short(answer) or asks_yes_or_no(request)):
        return "yes_no"
    return "number" if is_numeric(request, answer) else "text"


def auto(request: Request, reply: Reply) -> tuple[str, Hashable] | None:
    """What a reply says by its own form, together with the form."""
    form = form_of(request, reply)
    value = EXTRACTORS[form](request, reply)
    return None if value is None else (form, value)


def _alone(extract: Callable[[Reply], Hashable]) -> Extractor:
    return lambda _, reply: extract(reply)


EXTRACTORS: Mapping[str, Extractor] = {
    "auto": auto, "letter": letter, "number": _alone(number), "yes_no": _alone(yes_no), "json": _alone(json_value),
    "tools": _alone(tools), "text": _alone(wording),
}  # fmt: skip


def as_extractor(value: str | Extractor) -> Extractor:
    """The extractor of a name, or a function of a request and a reply itself.

    Raises:
        UnknownNameError: No extractor has this name.
    """
    if callable(value):
        return value
    if not isinstance(value, str) or value not in EXTRACTORS:
        raise UnknownNameError("extract", value, EXTRACTORS)
    return EXTRACTORS[value]
