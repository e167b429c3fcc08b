"""The form that a guide must have: what it is for, some numbered steps that begin with what to do, what to avoid.

A worked example has two more lines: the example before the steps, its result after them.

An allow-list, since no list of what is bad is ever complete. A line that is none of these, a step that says nothing to
do, a letter that only imitates another one: each refuses the whole guide. Pure functions.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from rar.texts import normalized
from rar.values import GuideStyle

MAX_CHARS = 1_500
STEPS = (2, 7)  # the author is asked for three at least, but some rules are short
_MAX_LINE = 320  # characters

_USE = (
    r"(?:use|apply)(?: this(?: guide)?)? (?:when|if|for|in)|when to use|applies (?:when|if|to)"
    r"|(?:a )?(?:utiliser|appliquer) (?:quand|si|lorsque?|pour)|quand (?:l')?utiliser"
    r"|(?:zu )?(?:verwenden|anwenden|benutzen|nutzen) (?:bei|wenn|fur)|wann(?: zu)? verwenden"
    r"|(?:para )?usar (?:cuando|quando|si|se|para|em|en)|(?:cuando|quando) usar|usare (?:quando|se|per)|quando usare"
    r"|(?:te )?gebruiken? (?:bij|als|wanneer|voor)|(?:uzyj|uzywac|stosowac),? (?:gdy|kiedy|przy)|kullan\w*"
    r"|использовать(?:,? когда| при| для)?|применять(?:,? когда| при| для)?|когда использовать"
    r"|适用(?:于|场合|情况|范围|场景)?|使用(?:场合|场景|时机|情况)|何时使用|用于|適用(?:於|場合)?"
    r"|いつ(?:使うか)?|使用する(?:とき|時|場面|場合)|使う(?:とき|時|場面|場合)|使用場面|(?:사용|적용)(?:할 때| 시|시)?"
)
_AVOID = (
    r"avoid(?: these| this)?|(?:common )?mistakes(?: to avoid)?|(?:a )?evite[rz]?|zu vermeiden|vermeiden?(?: sie)?"
    r"|evit(?:ar|e|en)|(?:da )?evitare|(?:te )?vermijden?|unikaj|unikac|kacin\w*|избегать|избегайте|не допускать"
    r"|避免|注意避免|切忌|注意|避ける(?:こと|べきこと)?|注意点|(?:피할 것|피하기|주의)"
)
_EXAMPLE = (
    r"(?:worked )?example(?: question| request)?|exemple|beispiel|ejemplo|exemplo|esempio|voorbeeld|przyklad|ornek"
    r"|пример|例(?:题|如|子)?|例題|예(?:시|제)?"
)
_RESULT = r"result|resultat|ergebnis|resultado|risultato|resultaat|wynik|sonuc|результат|结果|結果|결과"
_OPENING = re.compile(rf"(?:{_USE})\s*:\s*(\S.*)", re.IGNORECASE)
_CLOSING = re.compile(rf"(?:{_AVOID})\s*:\s*(\S.*)", re.IGNORECASE)
_SHOWN = re.compile(rf"(?:{_EXAMPLE})\s*:\s*(\S.*)", re.IGNORECASE)
_TOLD = re.compile(rf"(?:{_RESULT})\s*:\s*(\S.*)", re.IGNORECASE)
_STEP = re.compile(r"(?:\(?\d{1,2}[.):]|\(?[一二三四五六七八九十]{1,2}[、,.)])\s*(\S.*)")
_BULLET = re.compile(r"\s*[-*\u2022]\s+(?=\S)")
_BOLD = re.compile(r"(?<!\w)\*\*([^*\n]{1,120})\*\*(?!\w)")
_GENERAL = re.compile(
    r"(?:any|every|all)\b(?:.{0,30}\b(?:at all|whatsoever|whatever\b.*)|"
    r"(?: kinds? of| sorts? of)? (?:requests?|questions?|messages?|conversations?|topics?|tasks?|users?|customers?"
    r"|chats?)"
    r"[.!]?$|thing\b.*)|always\b|whatever\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Form:
    """A guide in its parts; `example` and `result` are empty in one that is no worked example."""

    purpose: str
    steps: tuple[str, ...]
    avoid: str
    example: str = ""
    result: str = ""


def tidied(text: str) -> str:
    """`text` without bold marks, blank lines and outer space.

    Indented lists are joined to the steps they belong to, and the further lines of an example to its first.
    """
    lines: list[str] = []
    for line in _BOLD.sub(r"\1", text.replace("\u00a0", " ")).splitlines():
        if not line.strip():
            continue
        nested = _BULLET.match(line)
        if nested and lines and _STEP.match(lines[-1]):
            lines[-1] += f" {line[nested.end() :].strip()}"
        elif lines and _SHOWN.fullmatch(bare(lines[-1])) and not _begins_a_part(line.strip()):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line.strip())
    return "\n".join(lines)


def _begins_a_part(line: str) -> bool:
    return any(part.fullmatch(bare(line)) for part in (_STEP, _TOLD, _CLOSING))


def style_of(text: str) -> GuideStyle:
    """The style of a guide with this text; a text without the form of a guide counts as steps."""
    form = form_of(text)
    return "example" if isinstance(form, Form) and form.example else "steps"


def flaw_of_form(text: str) -> str | None:
    """Why `text` has not the form of a guide; None if it has."""
    if not text.strip():
        return "it is empty"
    if len(text) > MAX_CHARS:
        return f"it has {len(text)} characters, the limit is {MAX_CHARS}"
    plain = normalized(text, "NFKC")
    return _letters(text) or _letters(plain) or _shape(plain)


def form_of(text: str) -> Form | str:
    """The parts of a guide, or what is wrong with them."""
    lines = text.splitlines()
    opening = _OPENING.fullmatch(bare(lines[0])) if lines else None
    closing = _CLOSING.fullmatch(bare(lines[-1])) if lines else None
    if opening is None:
        return "its first line does not say what it is for"
    if closing is None:
        return "its last line does not say what to avoid"
    inner, result = lines[1:-1], None
    shown = _SHOWN.fullmatch(bare(inner[0])) if inner else None
    if shown is not None:
        result = _TOLD.fullmatch(bare(inner[-1]))
        if result is None:
            return "its example has no result"
        inner = inner[1:-1]
    found = [_STEP.fullmatch(line) for line in inner]
    steps = tuple(step[1] for step in found if step)
    if len(steps) < len(found):
        return "it has a line that is no step"
    if not STEPS[0] <= len(steps) <= STEPS[1]:
        return f"it has {len(steps)} steps, not {STEPS[0]} to {STEPS[1]}"
    example, told = (shown[1], result[1]) if shown and result else ("", "")
    return Form(opening[1], steps, closing[1], example, told)


def _shape(text: str) -> str | None:
    form = form_of(text)
    if isinstance(form, str):
        return form
    if any(len(line) > _MAX_LINE for line in text.splitlines()):
        return f"it has a line of more than {_MAX_LINE} characters"
    if _GENERAL.match(form.purpose):
        return "it is meant for every request"
    if _is_english(text):
        return next((f"a step begins with {word!r}" for word in map(_stranger, form.steps) if word), None)
    return None


# --- how a step begins ----------------------------------------------------------------------------------------------

# A step says what to do. Who does it, to whom, and what is said to be so, begins otherwise.
_NO_IMPERATIVES_WORDS = """
i you he she it we they this that these those the a an my your his her its our their no nobody nothing none what
whatever who whom whose why there here is are was were am will would could might shall yes everyone everybody
"""
_NO_IMPERATIVES = frozenset(_NO_IMPERATIVES_WORDS.split())
_LEADS_WORDS = """
first firstly second secondly third next then finally lastly last now also again always never please only just
"""
_LEADS = frozenset(_LEADS_WORDS.split())
_ENGLISH_WORDS = """
the of a an to and in is it for with each by or on that use from as at one be not
"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_FIRST_WORDS = re.compile(r"[A-Za-z]+(?:['\u2019][a-z]+)?")


def _is_english(text: str) -> bool:
    words = re.findall(r"[^\W\d_]+", text.lower())
    latin = sum(word.isascii() for word in words)
    return latin > 0.8 * len(words) and 12 * sum(word in _ENGLISH for word in words) >= len(words)


def _stranger(step: str) -> str | None:
    """The word that a step begins with where it says nothing to do; None where it does."""
    words = [word.lower() for word in _FIRST_WORDS.findall(step)[:4]]
    first = next((word for word in words if word not in _LEADS), "")
    return first if first in _NO_IMPERATIVES else None


# --- letters --------------------------------------------------------------------------------------------------------

_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
_SIGNS = set("°℃℉№©®✓✗✔✘←→↑↓⇒")
# Blocks whose letters pass for plain Latin ones: phonetic and small capitals, modifiers, Cherokee, Lisu, Deseret …
_IMITATIONS = (
    (0x0250, 0x02FF), (0x13A0, 0x13FF), (0x1680, 0x16FF), (0x1D00, 0x1DBF), (0x1F000, 0x1FAFF), (0x2C60, 0x2CFF),
    (0xA4D0, 0xA4FF), (0xA640, 0xA69F), (0xA720, 0xA7FF), (0xAB30, 0xABBF), (0x10280, 0x10FFF), (0x118A0, 0x118FF),
    (0x16F00, 0x16F9F),
)  # fmt: skip
_LOOKALIKE = re.compile(r"[авекмнорстухіјѕԁԛԝһѵӏԍᴦΑΒΕΖΗΙΚΜΝΟΡΤΥΧο]+", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+")
_MARKS = 2  # combining marks on one letter that a script may need


def _letters(text: str) -> str | None:
    """What is wrong with the characters themselves."""
    marks = 0
    for char in text:
        if char.isascii() and (char.isprintable() or char in "\n\t\r"):
            marks = 0
            continue
        code, category = ord(char), unicodedata.category(char)
        if category in _HIDDEN:
            return "it contains invisible characters"
        if any(low <= code <= high for low, high in _IMITATIONS) or (category == "So" and char not in _SIGNS):
            return "it contains characters that imitate others"
        marks = marks + 1 if category == "Mn" else 0
        if marks > _MARKS:
            return "it contains characters that imitate others"
    words = _WORD.findall(text)
    scripts = [_scripts(word) for word in words]
    if any(mixed >= {"CYRILLIC", "LATIN"} for mixed in scripts):
        return "it mixes alphabets within a word"
    if any(len(word) > 4 and mixed >= {"GREEK", "LATIN"} for word, mixed in zip(words, scripts, strict=True)):
        return "it mixes alphabets within a word"
    latin = sum("LATIN" in mixed for mixed in scripts)
    if 2 * latin > len(words) and any(
        len(word) > 1 and "LATIN" not in mixed and _LOOKALIKE.fullmatch(word)
        for word, mixed in zip(words, scripts, strict=True)
    ):
        return "it contains characters that imitate others"
    return None


def _scripts(word: str) -> set[str]:
    if word.isascii():
        return {"LATIN"}
    return {unicodedata.name(char, "").partition(" ")[0] for char in word}


def bare(text: str) -> str:
    """`text` in compatibility form, without the accents of Latin letters, with plain quotes and dashes."""
    if text.isascii():
        return text
    marked = unicodedata.normalize("NFD", normalized(text, "NFKC"))
    plain = re.sub(r"([A-Za-z])[\u0300-\u036f]+", r"\1", marked)
    return unicodedata.normalize("NFC", plain).translate(_PLAIN)


_PLAIN = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-"})
