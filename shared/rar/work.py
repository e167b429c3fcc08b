"""The kind of work that a prompt asks for: answering its user, or a step on the way (rephrasing, ranking, …).

A verdict about one kind of work says nothing about another, even where both prompts hold the same question. So the kind
is part of the task that is learned, and the wording is not. What decides are the *directives*: the sentences by which a
developer says what is to be done. Styles, dates, conditions ("if asked, translate") and prohibitions are none, and what
is not recognisably another work counts as answering.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias, cast

Work: TypeAlias = Literal[
    "answer", "rephrase", "decompose", "summarise", "extract", "rank", "select", "translate", "classify", "evaluate",
    "redact", "plan", "query", "expand", "other",
]  # fmt: skip
Words: TypeAlias = Sequence[str]

# Instructions stand at the ends of a prompt. What lies between them, in a long one, is mostly material.
_HEAD: Final = 1_200
_TAIL: Final = 600
_CUE: Final = 60
_OBJECT: Final = 18  # words behind a verb that may still say what it is about

# From the most to the least telling: "your task is to rank …", "rank the …", "you are a ranking expert".
_STRONG, _PLAIN, _PERSONA = range(3)


@dataclass(frozen=True, slots=True)
class _Directive:
    strength: int
    work: Work
    words: tuple[str, ...]


def work_of(instructions: str) -> Work:
    """The work that a prompt's instructions ask for. They are what stands around the question and its context.

    Linear in the length of `instructions`, of which only the ends are read.
    """
    directive = _decisive(instructions)
    return "answer" if directive is None else directive.work


def label_of(instructions: str) -> str:
    """`work_of` by the name that a task gets: work of no known kind is told apart by a digest of the order given.

    Numbers are left out of the digest, so that a template keeps its name from one day to the next.
    """
    directive = _decisive(instructions)
    if directive is None or directive.work != "other":
        return "answer" if directive is None else directive.work
    words = " ".join(word for word in directive.words if not any(map(str.isdigit, word)))
    return f"other:{hashlib.blake2b(words.encode('utf-8', 'surrogatepass'), digest_size=6).hexdigest()}"


def _decisive(instructions: str) -> _Directive | None:
    """The first of the strongest directives; None where there is none."""
    text = instructions.strip()
    return _decided(text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]}\n\n{text[-_TAIL:]}")


@lru_cache(maxsize=512)  # system prompts come again and again
def _decided(text: str) -> _Directive | None:
    found: list[_Directive] = []
    talks = False
    for words in _sentences(text):
        talks = talks or _talks_to_users(words)
        directive = _directive(words, talks)
        if directive is not None:
            found.append(directive)
    cue = _cue(text)
    return min([*found, *cue], key=lambda directive: directive.strength, default=None)


def _cue(text: str) -> tuple[_Directive, ...]:
    """What the last line of a prompt for completion asks for: "Standalone question:", "SQL query:"."""
    last = text[text.rfind("\n") + 1 :]
    if not last.endswith(":") or len(last) > _CUE:
        return ()
    work = _made(tuple(_WORD.findall(last.lower())))
    return () if work is None or work == "other" else (_Directive(_PERSONA, cast("Work", work), (work,)),)


# --- sentences --------------------------------------------------------------------------------------------------------

_STOPS = re.compile(r"[.!?;:](?=\s|$)|[。！？；：]|\n\n")
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*|,")


def _sentences(text: str) -> Iterator[tuple[str, ...]]:
    """The words of each sentence, in lower case, with the commas. A line that runs on belongs to the one before."""
    lines: list[str] = []
    for line in (line.strip() for line in text.splitlines()):
        if lines and lines[-1] and line[:1].islower():
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    for sentence in _STOPS.split("\n\n".join(lines)):
        words = tuple(_WORD.findall(sentence.lower().replace("’", "'").replace("，", ",")))
        if words:
            yield words


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_FILLERS = _set(
    "please kindly now then first firstly second third next finally always simply just only carefully and also so but "
    "instead rather briefly task instruction instructions goal step bitte veuillez por favor , to"
)
_CONDITIONS = _set("if when whenever unless otherwise once should while until wenn falls si cuando se")
_NOT = _set("don't never not without avoid nicht niemals ne no nunca")
_LEADS = _set(
    "given based using from with considering for after in as by according use read consider here below above having"
)
_TASKS = _set("task job goal role objective purpose mission duty responsibility aufgabe ziel tâche tarea")
_DETERMINERS = _set("a an the this that these those each every any some no your my our their its to of and or")
_NEEDED = _set(
    "relevant useful needed necessary required helpful used how passage paragraph document call consult want"
)
_YOU_ARE = {
    ("you", "are"),
    ("act", "as"),
    ("du", "bist"),
    ("sie", "sind"),
    ("tu", "es"),
    ("vous", "êtes"),
    ("sei", "un"),
}
_CONVERSATIONAL = _set(
    "assistant agent bot chatbot support service helpdesk concierge tutor teacher advisor adviser consultant coach "
    "companion receptionist helper representative persona assistent assistente asistente kundenservice"
)
_QUESTIONS = _set(
    "question questions query queries user user's users customer customer's request frage anfrage pregunta"
)
# What works are done on. Under a persona that talks to users, a verb without one of them is a matter of style.
_INPUTS = _QUESTIONS | _set(
    "following given below above provided text texts passage passages conversation dialogue document documents input "
    "article transcript context message history chunk excerpt paragraph sentence statement folgenden folgende suivant "
    "suivante siguiente texto texte"
)
_USERS = _set("user users user's customer customer's")
_GIVEN = _set("user user's users customer the these input language natural")
_POINTERS = _set("following given below above")
_OUTPUTS = _set("answer answers your response responses reply replies findings suggestions recommendations results")
_ASIDES = _set("when whenever before after asked requested end whether")


def _talks_to_users(words: Words) -> bool:
    return (words[0] in {"you're", "eres"} or tuple(words[:2]) in _YOU_ARE) and not _CONVERSATIONAL.isdisjoint(
        words[:16]
    )


def _directive(words: Words, talks: bool) -> _Directive | None:
    """What a sentence orders; None where it orders nothing that tells the work."""
    words = _begun(words)
    if not words or words[0] in _CONDITIONS:
        return None
    if _forbids_answering(words):
        return _Directive(_PERSONA, "other", tuple(words))
    if words[0] in _NOT or tuple(words[:2]) == ("do", "not"):
        return None
    if words[0] == "you" or tuple(words[:2]) == ("act", "as"):
        return _addressed(words, talks)
    if words[0] in {"i", "we", "i'll"}:
        return _order(_behind_to(words), _PLAIN, talks)
    if (task := _behind_task(words)) is not None:
        return _order(task, _STRONG, talks=False)
    if words[0] in _LEADS or words[0].endswith("ing"):
        return _led(words, talks)
    return _order(words, _PLAIN, talks)


def _begun(words: Words) -> Words:
    """The words behind what only introduces them: bullets' numbers, "please", "then", adverbs."""
    at = 0
    while at < len(words) and (words[at] in _FILLERS or words[at].isdigit() or _is_adverb(words[at])):
        at += 1
    return words[at:]


def _is_adverb(word: str) -> bool:
    return word.endswith("ly") and word not in _VERBS


def _forbids_answering(words: Words) -> bool:
    """Whether it says "do NOT answer the question": then something else is wanted."""
    return any(
        word in _NOT
        and words[at + 1].startswith("answer")
        and words[at + 2] in {"the", "this", "their", "user's", "it"}
        for at, word in enumerate(words[:-2])
    ) and _CONDITIONS.isdisjoint(words)


def _behind_task(words: Words) -> Words | None:
    """What "your (…) task (…) is to" says is to be done; None in a sentence without it."""
    named = next((at for at, word in enumerate(words[:6]) if word in _TASKS and at), None)
    if named is None:
        return None
    link = next(
        (at for at in range(named + 1, min(len(words), named + 6)) if words[at] in {"is", "ist", "est", "es"}), None
    )
    return None if link is None else _begun(words[link + 1 :])


def _behind_to(words: Words) -> Words:
    """What "I want you to", "you must", "you will be asked to" say is to be done."""
    at = next((at for at, word in enumerate(words[:10]) if word in {"to", "must", "should", "will", "shall"}), None)
    return () if at is None else _begun(words[at + 1 :])


def _addressed(words: Words, talks: bool) -> _Directive | None:
    if words[0] == "you" and len(words) > 1 and words[1] in {"can", "may", "could", "might", "have"}:
        return None
    if words[0] == "act":
        role = _persona(words)
        return None if role is None else _Directive(_PLAIN, role.work, role.words)
    if len(words) > 2 and words[1] == "are" and words[2] not in {"to", "given", "asked", "provided", "required"}:
        return _persona(words)
    if len(words) > 2 and words[1] in _VERBS and not _then_answers(words[2:]):  # "you translate what users write"
        found = _order(words[1:], _PLAIN, talks)
        if _VERBS[words[1]] != "make" or (found is not None and found.work not in {"answer", "other"}):
            return found
    order = _behind_to(words)
    if order and order[0] in {"be", "receive", "see", "get"}:  # "you will be given a text, …"
        return _led(order, talks)
    return _order(order, _PLAIN, talks)


def _persona(words: Words) -> _Directive | None:
    """What a role is there for: "a translator", "an expert at converting questions to SQL", "tasked with ranking …"."""
    for at, word in enumerate(words[2:], 2):
        if word in _ROLES:
            return _Directive(_PERSONA, _ROLES[word], tuple(words))
        linked = words[at - 1] in {"that", "who", "which", "to", "at", "in", "for", "with", "and"} or word.endswith(
            "ing"
        )
        if linked and word in _VERBS:
            found = _order(words[at:], _PERSONA, talks=False)
            if found is not None:
                return found
    return None


def _led(words: Words, talks: bool) -> _Directive | None:
    """What stands behind an introduction: "given the …, rank the …", "use the … to answer the …"."""
    for at, word in enumerate(words[1:], 1):
        order = _begun(words[at + 1 :]) if word == "," else ()
        if order[:1] == ("you",):
            return _addressed(order, talks)
        if order and order[0] in _VERBS and (found := _order(order, _PLAIN, talks)) is not None:
            return found
    for at, word in enumerate(words[1:], 1):
        if word in _VERBS and words[at - 1] not in _DETERMINERS - {"to"} and words[at - 1] not in _INPUTS:
            if words[at - 1] == "to" and (words[at - 2] in _NEEDED or _VERBS[word] != "answer"):
                continue
            if (found := _order(words[at:], _PLAIN, talks)) is not None:
                return found
    return None


# --- verbs and their objects ------------------------------------------------------------------------------------------


def _forms(verbs: str) -> Iterator[str]:
    """Verbs as orders, roles and tasks have them: rank, ranks, ranking. Some forms that do not exist do no harm."""
    for verb in verbs.split():
        stem = verb.removesuffix("e")
        yield from (verb, f"{verb}s", f"{stem}es", f"{stem}ing", f"{stem}ed", f"{verb}{verb[-1]}ing")


def _table(words: Mapping[str, str]) -> dict[str, str]:
    return {word: kind for kind, these in words.items() for word in these.split()}


_DONE = {
    "rephrase": "rephrase reword rewrite reformulate paraphrase contextualize contextualise condense disambiguate "
    "umformulieren formuliere reformuler reescribir",
    "decompose": "decompose subdivide zerlegen zerlege décomposer descomponer",
    "summarise": "summarize summarise shorten distil distill recap resume résumer résumez résume résumes resumir "
    "zusammenfassen fasse",
    "extract": "extract extrahieren extrahiere extraire extraer extrae transcribe",
    "rank": "rank rerank re-rank sort reorder re-order prioritize prioritise",
    "select": "select choose pick route wähle seleccionar",
    "translate": "translate übersetzen übersetze traduire traduisez traducir traduce traduzir",
    "classify": "classify categorize categorise label tag detect klassifiziere klassifizieren clasificar classer",
    "evaluate": "evaluate assess grade judge score rate critique verify fact-check compare bewerte bewerten évaluer "
    "evaluar",
    "redact": "redact mask anonymize anonymise pseudonymize pseudonymise deidentify de-identify",
    "expand": "expand brainstorm",
    "other": "emulate simulate try",
    "answer": "answer respond reply help assist chat converse explain solve advise discuss synthesize synthesise "
    "beantworte "
    "beantworten antworte réponds répondez répondre responde responder contesta rispondi responda",
    "make": "generate write create produce give provide make construct compose formulate convert turn transform "
    "build draft "
    "output return list identify determine decide find suggest propose come break split divide structure put replace "
    "remove strip compute derive predict guess complete devise develop take hide pull ask check update infer "
    "erstelle schreibe "
    "generiere rédige rédigez génère générez genera generar escribe crea",
}
_VERBS: Mapping[str, str] = {form: kind for kind, verbs in _DONE.items() for form in _forms(verbs)} | {
    "classified": "classify", "classifies": "classify", "classifying": "classify", "verifying": "evaluate",
}  # fmt: skip
# Verbs that say the work by their second word alone: "order the passages", which is no order of a customer's.
_PHRASES: Mapping[tuple[str, ...], str] = {
    ("pull", "out"): "extract",
    ("pick", "out"): "extract",
    ("order", "the"): "rank",
    ("order", "these"): "rank",
    ("order", "them"): "rank",
    ("arrange", "the"): "rank",
    ("arrange", "these"): "rank",
}
_MADE: Mapping[str, str] = _table({
    "query": "cypher sparql graphql elasticsearch opensearch dsl jsonpath mongodb promql gremlin numexpr regex api "
    "schema syntactically expression filter esquery",
    "decompose": "subquestion subquestions sub-question sub-questions sub-query sub-queries subqueries sub subtasks "
    "sub-tasks "
    "subproblems sub-problems",
    "rephrase": "standalone stand-alone self-contained rephrased reformulated rewritten vectorstore eigenständige "
    "autonome "
    "independiente",
    "summarise": "summary summaries tl gist abstract synopsis recap zusammenfassung résumé resumen",
    "plan": "plan roadmap objective",
    "expand": "queries versions variants variations synonyms paraphrases alternatives alternative phrasings "
    "hypothetical passage "
    "keywords questions "
    "pair argument",
    "extract": "entities entity triplets triples triple facts assertions assumptions verbatim nouns keyword "
    "extracted mentioned",
    "evaluate": "score scores rating grade verdict binary correct grounded critique whether faithful feedback",
    "rank": "ranking ranked",
    "classify": "category categories label labels intent sentiment spam yes",
    "translate": "translation übersetzung traduction traducción",
    "select": "tool tools table tables choice choices number numbers datasource destination",
    "redact": "pii personal personally identifiable sensitive confidential",
    "answer": "answer answers response responses reply replies solution explanation advice antwort réponse respuesta",
})  # fmt: skip
_ROLES: Mapping[str, Work] = cast("Mapping[str, Work]", _table({
    "translate": "translator translation übersetzer traducteur traductor",
    "summarise": "summarizer summariser summarization summarisation",
    "classify": "classifier classification",
    "evaluate": "grader evaluator judge fact-checker checker",
    "rank": "reranker ranker",
    "extract": "extractor extraction",
    "rephrase": "rewriter re-writer rephraser",
        "query": "text-to-sql text2sql text2cypher text-to-cypher",
    "redact": "redactor anonymizer anonymiser",
}))  # fmt: skip
_BETTER = _set("search retrieval better improved clearer rewritten")
_SAID = frozenset(_forms("answer respond reply beantworte antworte réponds répondez responde rispondi responda"))
_LENGTHS = _set("sentence sentences paragraph paragraphs line lines")
_FORMS = _set("format style tone rules guidelines json markdown steps structure order instructions example")


def _order(words: Words, strength: int, talks: bool) -> _Directive | None:
    """What a clause that begins with a verb orders; None where that verb tells no work."""
    kind = _PHRASES.get(tuple(words[:2])) or (_VERBS.get(words[0]) if words else None)
    if kind is None:
        return None
    behind = words[1 : 1 + _OBJECT]
    if words[0] == "try":
        work = "other" if behind[:1] == ("again",) else None
    elif kind == "answer":
        work = _answered(behind) if words[0] in _SAID else "answer"
    else:
        work = _made(behind) if kind == "make" else _done(words[0], kind, behind)
    if work is None or (work == "other" and strength == _PERSONA):
        return None
    if work != "answer" and talks and strength == _PLAIN and (work == "other" or _is_manner(behind)):
        return None
    return _Directive(strength, cast("Work", work), tuple(words))


def _is_manner(behind: Words) -> bool:
    """Whether somebody who talks to users is only told how: what to do with an answer, or in some case."""
    return (_INPUTS - _USERS).isdisjoint(behind) or not _ASIDES.isdisjoint(behind)


def _answered(behind: Words) -> str | None:
    """To "answer the question" is an order; "answer briefly" and "answer in French" only say how."""
    if "yes" in behind[:4] or "true" in behind[:4]:
        return "classify"
    if behind and behind[0] in {"with", "only", "in"} and (_QUESTIONS | _LENGTHS).isdisjoint(behind[:5]):
        made = _made(behind)
        return None if made == "answer" else made
    return "answer"


def _done(verb: str, kind: str, behind: Words) -> str | None:
    first = behind[:3]
    if "your" in first or (kind != "evaluate" and not _OUTPUTS.isdisjoint(first) and _POINTERS.isdisjoint(first)):
        return "answer" if _then_answers(behind) else None
    if kind not in {"rank", "select"} and _then_answers(behind):
        return "answer"
    if verb.startswith("condens") and _QUESTIONS.isdisjoint(behind):
        return "summarise"
    if kind == "translate" and _made(behind) == "query":
        return "query"
    return kind


def _made(behind: Words) -> str | None:
    for at, word in enumerate(behind):
        kind = "query" if word.endswith(("sql", "ql")) and len(word) > 2 else _MADE.get(word)
        if word == "question" and 0 < at < 5 and behind[at - 1] in {"a", "one", "comprehension"}:
            kind = "expand"
        if word in {"query", "question"} and at and behind[at - 1] in _BETTER:
            kind = "rephrase"
        if kind == "answer" and "tool" in behind[at + 1 : at + 5]:
            return "other"  # in the place of a tool
        if kind is not None and not (word == "questions" and at and behind[at - 1] in _GIVEN):
            return kind
    known = _FORMS.isdisjoint(behind) and not (_INPUTS - _USERS).isdisjoint(behind)
    return "other" if known else None


def _then_answers(behind: Words) -> bool:
    """Whether the work is a step before the answer, which is asked for too: "summarise it to answer the question"."""
    return any(
        _VERBS.get(word) == "answer" and at and behind[at - 1] in {"to", "then", "and", "before"}
        and (at < 2 or behind[at - 2] not in _NEEDED)
        for at, word in enumerate(behind)
    )  # fmt: skip
