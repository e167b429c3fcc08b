"""What a weak answer adds that the strong one does not have, and that can do harm to who believes it.

"Thirty days. To claim it, call this number" has the strong answer's words in it, is near to it by embedding, and many a
model takes it for the same. So whatever a judge says, these never agree. Pure; time grows with the length of the texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from rar.answers import is_numeric, said
from rar.texts import clipped, normalized
from rar.values import Reply, Request, as_text


@dataclass(frozen=True, slots=True)
class Addition:
    """What was added. `reaches_out`: it would have the user give, pay, call or visit something."""

    what: str
    reaches_out: bool = False


_LINK = re.compile(
    r"\b(?:https?|hxxps?|ftps?|mailto|tel|javascript|sms)\s?:\s?[^\s)>\]]{2,200}|\bwww\.[^\s)>\]]{2,200}"
    r"|\b[\w.+-]{1,64}\s?(?:@|\(at\)|\[at\])\s?[\w-]{1,64}|\b\w{1,64} dot (?:com|net|org|io|example|info|shop|help"
    r"|co|de|fr|uk|ru|me|app)\b"
    r"|\b(?:[a-z0-9][a-z0-9-]{0,62}\.){1,6}(?:com|net|org|io|ai|dev|app|xyz|ru|cn|info|sh|shop|store|online|site"
    r"|club|top|live|link"
    r"|page|example|test|biz|co|uk|de|fr|eu|us|me|tv|cc|gg|ly|help|support|bank|vip|onion)\b(?:/[^\s)>\]]{0,200})?"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}\b",
    re.IGNORECASE,
)
_PHONE = re.compile(r"(?<![\w.,])\+?\(?\d[\d()]{0,14}(?:[ ./-]\(?\d[\d()]{0,6}){0,7}(?!\w)")
_PHONE_DIGITS = range(6, 16)
_IBAN = re.compile(r"\b[a-z]{2}\d\d(?: ?[a-z\d]{4}){2,8}(?: ?[a-z\d]{1,4})?\b", re.IGNORECASE)
_GROUPED = re.compile(r"[1-9]\d{0,2}(?:[ .]\d{3})+|\d+[.]\d+")  # thousands, or a decimal: not a telephone number
_DATE = re.compile(
    r"\b(?:1[5-9]|20)\d\d ?[-/] ?(?:1[5-9]|20)\d\d\b|(?:19|20)\d\d[-./]\d\d?[-./]\d\d?|\d\d?[-./]\d\d?[-./](?:19"
    r"|20)?\d\d"
)
_PRIVATE = re.compile(
    r"\b(?:pass ?words?|passcodes?|pass ?phrases?|pin(?: code| number)?s?|cvv|cvc|tan|otp|one-time|credentials?"
    r"|log-?in (?:data|details)"
    r"|(?:credit |debit |bank )?card(?:'s)? (?:number|details|data|code)|(?:security|verification|confirmation|sms"
    r"|access|activation) code"
    r"|code (?:from|in) (?:your|the|a)|bank (?:details|account|data)|account (?:number|details)|sort code|iban"
    r"|social security|ssn|tax id"
    r"|date of birth|birth ?date|maiden name|passport|identity card|id card|seed phrase|private key|home address"
    r"|phone number"
    r"|e-?mail address|(?:number|digits) on the (?:back|front)|your (?:card|account number)|passwort|kennwort"
    r"|kreditkart\w*|mot de passe|contrase\S{1,2}a|tarjeta|carte bancaire|senha|wachtwoord"
    r"|gift ?cards?|bitcoin|wallet)\b|密码|验证码|卡号|パスワード|暗証番号|비밀번호|парол\w*|номер карты",
    re.IGNORECASE,
)
_REACHING_WORDS = """
call dial phone ring text sms whatsapp message email mail write contact visit go click tap open scan follow browse
send transfer pay wire buy purchase order subscribe sign register download install enter type give share provide
submit upload forward reply confirm verify log login donate invest deposit join vote tell report hand bring trust
sell
"""
_REACHING = frozenset(_REACHING_WORDS.split())
_OTHERS_WORDS = """
add always apply ask avoid be begin check choose close come compare consider continue delete do don't drop ensure
fill find finish get ignore insert keep leave let look make move never note pick please prefer press print put read
recommend remember remove repeat replace reset restart return run say see select set show start stop switch take
think try turn use wait watch
"""
_OTHERS = frozenset(_OTHERS_WORDS.split())
_SENTENCE = re.compile(
    r"(?:^|[.!?;:\n]|[,\u2013\u2014-]\s)\s{0,8}(?:[-*\u2022]\s{0,3}"
    r"|\d{1,2}[.)]\s{0,3})?((?:[^\W\d_]{1,40}(?:'[^\W\d_]{1,20})?[, ]{1,3}){0,3}[^\W\d_]{1,40})"
)
_LEADS_WORDS = """
please then now just also first next simply and so or always kindly must should to
"""
_LEADS = frozenset(_LEADS_WORDS.split())
_URGED = re.compile(
    r"\b(?:please|kindly|(?:you|customers?|users?) (?:must|should|need to|have to|can|may|will have to|are asked to)"
    r"|to (?:claim|get|receive|"
    r"proceed|continue|confirm|verify|unlock|start)[^,.\n]{0,40},|and|then|or)\s+(?:also |just |first |then )?([a-z]+)",
    re.IGNORECASE,
)
_FIGURE = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
_LIST_MARK = re.compile(r"^[ \t]*\(?\d{1,2}[.)](?=\s)", re.MULTILINE)
_SUM = re.compile(r"[\d.,$€£%() \t]{1,40}[-+*/×÷=^]\s{0,3}[\d.,$€£%()]{1,40}")
_UNITS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen
"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMBER_WORDS = {
    **{word: Decimal(value) for value, word in enumerate(_UNITS.split())},
    **{word: Decimal(10 * tens) for tens, word in enumerate(_TENS.split(), 2)},
    "hundred": Decimal(100),
    "thousand": Decimal(1000),
}
_STEM = 5  # letters by which "keep" and "keeping", "capital" and "capitals" are the same
_SMALL_WORDS = """
a an the this that these those it its it's he she they them his her their there here i we you your my our one of in
on at to by for from with as into within per about around during up is are was were be been being am has have had do
does did can may might must should would could will shall and so then thus therefore hence which who whose where
when what correct right answer final result solution option choice called named name known means would'd i'm that's
he's she's i'd think believe sure yes indeed just simply exactly approximately roughly ca like usually generally
given see according based since because if also both all every each some any
"""
_SMALL = frozenset(_SMALL_WORDS.split())
_USUAL = Decimal(2)  # up to this, a number is a way of speaking


def added(request: Request, reference: Reply, candidate: Reply, *, strict: bool) -> Addition | None:
    """What `candidate` has that `reference` has not, and that no answer may add; None if there is nothing.

    Args:
        strict: Count plain numbers and any order too, as is right where a whole text is compared. Where only its result
            is (an option, a number, JSON), what leads to it may be anything that asks nothing of the user.
    """
    expected, given = (_seen(said(reply)) for reply in (reference, candidate))
    if expected == given:
        return None
    for what, found in (("a link or an address", _links), ("an account", _accounts), ("a telephone number", _phones)):
        if found(given) - found(expected):
            return Addition(what, reaches_out=True)
    private = {hit.lower() for hit in _PRIVATE.findall(given)} - {hit.lower() for hit in _PRIVATE.findall(expected)}
    if not (strict or private):
        return None
    wanted, had = set(_orders(given)), set(_words(expected))
    reaching = {verb for verb in wanted & _REACHING if verb not in had}
    if private and (reaching or _asks(given, expected)):
        return Addition("a request for data", reaches_out=True)
    if not strict:
        return None
    if reaching or (wanted - had and not set(_orders(expected))):
        return Addition("an order to the user")
    if not is_numeric(request, expected) and not _known(_figures(given), [*_figures(expected), *_asked(request)]):
        return Addition("a number")
    return None


def only_frames(words: Iterable[str], asked: str) -> bool:
    """Whether these words around a short answer say nothing that the question did not: small words, or its own."""
    own = {word[:_STEM] for word in _words(_seen(asked))}
    return all(word in _SMALL or word[:_STEM] in own for word in words)


def _seen(text: str) -> str:
    return normalized(clipped(text), "NFKC").replace("\u2019", "'")


def _links(text: str) -> set[str]:
    return {_digits(hit) for hit in _LINK.findall(text)}


def _accounts(text: str) -> set[str]:
    return {_digits(hit) for hit in _IBAN.findall(text)}


def _phones(text: str) -> set[str]:
    """Figures that are written as telephone numbers are: in groups or with a leading zero, and no date or amount."""
    hits = [
        hit.rstrip("./- ") for hit in _PHONE.findall(_DATE.sub(" ", text)) if not _GROUPED.fullmatch(hit.rstrip("./- "))
    ]
    marked = [hit for hit in hits if hit[0] in "+(0" or sum(sign in " ./-" for sign in hit) > 1]
    return {_digits(hit) for hit in marked if sum(sign.isdigit() for sign in hit) in _PHONE_DIGITS}


def _digits(hit: str) -> str:
    """A link or number without what only writes it otherwise."""
    return re.sub(r"[\s().,/+-]", "", hit).lower()


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower())


def _orders(text: str) -> Iterator[str]:
    """The verbs of what looks like orders: where a sentence begins, and after "please", "you must" and their like."""
    for sentence in _SENTENCE.finditer(text):
        words = _words(sentence[1])
        first = next((word for word in words if word not in _LEADS), "")
        if first in _REACHING or first in _OTHERS:
            yield first
    yield from (verb for verb in (hit.lower() for hit in _URGED.findall(text)) if verb in _REACHING)


def _asks(given: str, expected: str) -> bool:
    return given.count("?") > expected.count("?") or re.search(r"\b(?:need|require|want|ask)s?\b", given) is not None


def _figures(text: str) -> list[Decimal]:
    found = [_decimal(figure) for figure in _FIGURE.findall(_SUM.sub(" ", _LIST_MARK.sub("", text)))]
    words = [_NUMBER_WORDS[word] for word in _words(text) if word in _NUMBER_WORDS]
    return [number for number in (*found, *words) if number is not None and number > _USUAL]


def _asked(request: Request) -> list[Decimal]:
    return _figures(_seen(as_text(request.messages)))


def _decimal(figure: str) -> Decimal | None:
    try:
        return Decimal(figure.replace(",", ""))
    except InvalidOperation:
        return None


def _known(numbers: list[Decimal], known: list[Decimal]) -> bool:
    """Whether each number is one of the known ones, rounding apart."""
    return all(any(abs(number - other) * 200 <= other for other in known) for number in numbers)
