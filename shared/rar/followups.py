"""Turns that mean nothing without the conversation: "yes", "continue", "and the second one?".

A turn stands alone if its words say what is asked: enough of them, none that points back ("it", "the same"), and no
answer to a question of the assistant's. All others are taken for follow-ups, also where that is not clear. A
follow-up that is taken for a question is confused with others of the same words. A question that is taken for a
follow-up merely is not recognised in another conversation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final

_MIN_WORDS: Final = 5  # fewer words seldom stand alone: "and the second one?"
_MIN_SIGNS: Final = 9  # the same for scripts without spaces between words
_READ: Final = 2_000  # characters of a turn that are looked at
_QUOTED: Final = 280  # characters of each earlier message that a follow-up's key holds

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SIGN = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# How a turn begins that goes on with what was said.
_GOING_ON = _set(
    "and but or so then also else ok okay yes yeah yep no nope sure right thanks continue go same why how's again "
    "instead "
    "und aber oder also dann auch ja nein doch weiter genau danke nochmal et mais ou alors donc aussi oui non encore "
    "y pero "
    "o entonces también sí si sigue continúa e ma allora anche sì mas então também sim não en maar dus ook nee а но "
    "и да нет "
    "ale tak nie ve ama evet"
)
# Words that point back to something. German articles and Spanish "este" point on as well, so they are left out.
_POINTING = _set(
    "it its it's they them their theirs he she him her his hers this these those former latter above previous "
    "previously "
    "earlier aforementioned ones er ihn ihm dies diese diesen dieser dieses diesem davon darüber damit dazu daran "
    "dafür dabei "
    "deren dessen vorherige obige ebenso dasselbe il elle ils elles cela ça ceci celui celle ceux celles ce cette "
    "ces lui "
    "leur précédent eso esto ese esa esos esas ello ella ellos ellas él anterior mismo misma lo questo quello essa "
    "esse isso "
    "isto ele ela eles elas dit dat deze hem haar его её ее их это этот эта эти он она они"
)
_POINTING_SIGNS = re.compile(
    r"[它他她這这那其该該]|上面|刚才|剛才|前面|それ|これ|あれ|その|この|彼|그것|이것|저것|그거"
)
_NTH = "first|second|third|fourth|last|other|next|previous|latter|former"
# What an earlier answer was, by a name: "the text", "the last paragraph", "your reply".
_WRITTEN = (
    "text|answers?|mail|e-?mail|letter|message|paragraph|sentence|list|code|function|script|story|poem|essay|table"
    "|summary|response|reply|title|tone|version|draft|recipe|plan|outline|examples?"
)
_POINTING_PHRASES = re.compile(
    "|".join(
        (
            rf"\b(?:the same|the (?:{_NTH}) (?:one|option|point|part|item|answer))\b",
            r"\b(?:number|option|point) (?:one|two|\d+)\b",
            r"\b(?:the|this|our) (?:conversation|chat|discussion|dialogue)\b|\bso far\b",
            r"\bthat (?:one|again|too|way)\b",
            r"\b(?:is|was|does|did|about|of|for|with|do|like|to|explain|mean) that(?=\s{0,9}(?:[?.!,]|$))",
            r"\b(?:do|does|did|would|could|can|should|will|might|has|whether|if|why|before|after) that(?:'s)?\b",
            r"(?:^|[.!?:]\s{1,9})(?:is|was) that\b|\binstead(?=\s{0,9}(?:[?.!,]|$))|^\W{0,9}(?:what|how) about\b",
            rf"\bmore (?:{_WRITTEN}|ideas|options|of)\b|\banother (?:{_WRITTEN}|option|way|idea|try)\b",
            rf"\btell me more\b|\bin your (?:{_WRITTEN})\b|\bwhich one\b",
            r"\b(?:of the|between the|both|the) two\b(?=\s{0,9}(?:[?.!,]|is|are|$))",
            r"\bdas (?:denn|bitte|auch|genau|noch|mal|so)\b|\b(?:kannst du|könntest du|können sie) das\b",
            r"\b(?:(?:der|den|die) beiden|les deux|los dos|las dos)\b",
            r"\b(?:tu as dit|vous avez dit|dijiste|mencionaste|hai detto)\b",
            r"\byou (?:said|mentioned|wrote|suggested|just|meant)\b|\byour (?:last|previous|first|answer)\b",
            r"\b(?:one more|another one|what else|as above|more details? about)\b",
            r"\bthere(?=\s{0,9}(?:[?.!,]|$)|\s{1,9}too\b)",
            r"\b(?:das gleiche|(?:der|die|das) zweite|la même chose|l[ea] deuxième|el segundo|la segunda)\b",
        )
    ),
    re.IGNORECASE,
)
# An order to change what was written before: "Make the text shorter". Behind a colon, the text would come along.
_CHANGES = re.compile(
    r"\W{0,9}(?:(?:now|please|can you|could you) ){0,2}(?:make|rewrite|rephrase|shorten|expand|change|improve|fix"
    r"|simplify|remove|delete|add|use|turn|convert|translate|put|include|drop|keep|reformat|sort)\b[^:\n]{0,80}?"
    rf"\b(?:(?:the|your) (?:\w{{1,12}} )?(?:{_WRITTEN})|at the (?:end|beginning|start|top|bottom))\b"
    r"(?![^:\n]{0,80}:)",
    re.IGNORECASE,
)
# "It is true that …": words that point at nothing.
_EXPLETIVE = re.compile(
    r"\b(?:is|was|does|will|would|can|could|makes?) it (?:possible|true|likely|safe|legal|necessary|worth|better|ok)\b"
    r"|\b(?:does|will|would|did) it (?:take|rain|snow|mean|make sense|cost to)\b|\bis it (?:hard|easy|difficult) to\b"
    r"|\bit(?:'s| is| was) (?:possible|true|likely|safe|legal|necessary|that|to)\b|\bit (?:takes?|rains?)\b"
    r"|\bil (?:y a|est|faut|existe|fait)\b|\best-ce\b|\bqu'est-ce\b",
    re.IGNORECASE,
)
# What an assistant says at the end that asks for anything and nothing.
_OFFER = re.compile(
    r"\b(?:help|assist|anything else|do for you|questions|helfen|behilflich|aider|ayudar|ayudarte|aiuto|aiutare|ajudar"
    r"|helpen|помочь)\b|帮|幫|手伝|도와",
    re.IGNORECASE,
)
_QUESTION_MARKS = "?？؟"


def stands_alone(turn: str, answered: str = "") -> bool:
    """Whether a turn says itself what it asks.

    Args:
        answered: What the assistant said before it.
    """
    text = _EXPLETIVE.sub(" ", turn[:_READ])
    words = [word.lower().replace("’", "'") for word in _WORD.findall(text)]
    signs = len(_SIGN.findall(text))
    if signs < _MIN_SIGNS if signs else len(words) < _MIN_WORDS:
        return False
    if words[0] in _GOING_ON or not _POINTING.isdisjoint(words):
        return False
    if _CHANGES.match(text) or _POINTING_PHRASES.search(text) or _POINTING_SIGNS.search(text):
        return False
    return any(mark in turn for mark in _QUESTION_MARKS) or not _asks_back(answered)


def _asks_back(answered: str) -> bool:
    """Whether the assistant wants to know something, so that what follows is half of a question."""
    said = answered.rstrip(" \n\t*_)\"'")
    if not said.endswith(tuple(_QUESTION_MARKS)):
        return False
    last = re.split(r"[.!\n。！]", said[-400:])[-1]
    return _OFFER.search(last) is None


def in_conversation(turn: str, earlier: Sequence[tuple[str, str]]) -> str:
    """The key of a turn that needs its conversation: quotes from it, the turn, and a digest of all that was said.

    The quotes tell what it is about, the digest keeps apart conversations that differ anywhere. Its length is bounded
    by the turn's.

    Args:
        earlier: Role and text of the messages before the turn, oldest first.
    """
    quotes: list[str] = []
    for role in ("user", "assistant"):
        said = [text for who, text in earlier if who == role and text.strip()]
        quotes += [_shortened(text) for text in said[-1:]]
    users = [text for who, text in earlier if who == "user" and text.strip()]
    topic = next((text for text in reversed(users[:-1]) if stands_alone(text)), None)
    if topic is not None and users and not stands_alone(users[-1]):
        quotes.insert(0, _shortened(topic))
    return "\n".join([*quotes, turn, f"[conversation {digest(*(part for message in earlier for part in message))}]"])


def digest(*parts: str) -> str:
    """16 hex digits for texts, whose limits count."""
    hashed = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hashed.update(len(data).to_bytes(8, "big"))
        hashed.update(data)
    return hashed.hexdigest()


def _shortened(text: str) -> str:
    text = " ".join(text[: 4 * _READ].split())
    return text if len(text) <= _QUOTED else f"{text[: _QUOTED // 2]} … {text[-_QUOTED // 2 :]}"
