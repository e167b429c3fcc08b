"""Prompt templates seen from outside: which part of a filled-in prompt is the question, and which are instructions.

A prompt that somebody's template made has *fields*: "Context: …", "Question: …", `<question>…</question>`, in many
languages. Its material may hold such lines too, by chance or because somebody planted them. So the question is taken
from the template's own field only: one that stands before all material, or the last one, if nothing behind it can be
its answer. Where two fields could be the template's, none is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Final, Literal, TypeAlias

from rar.work import work_of

_Kind: TypeAlias = Literal["question", "turn", "material", "answer", "other", "end"]

_READ: Final = 60_000  # characters of a prompt that are looked at, half at each end
_HEAD: Final = 2_000  # characters of a prompt in which its instructions are looked for
_KEPT: Final = 8_000  # characters of a system message that is worth keeping in mind
_FIRST: Final = 300  # characters within which a prompt that begins with its question has it
_LAST: Final = 4_000  # and, at the end, one that ends with it
_COLONS: Final = 100  # that are looked at for such a sentence
_SENTENCE: Final = 90  # characters before the colon
_ORDER_PARAGRAPHS: Final = 3  # that are looked for behind a question
_FIRST_PARAGRAPH: Final = 60  # characters: what is shorter is a heading
_CUE: Final = 160  # characters of a last line that a model is to go on from

# In a name, a point stands for a space.
_NAMES: dict[_Kind, str] = {
    "question": """
        questions? query request search.query frage anfrage aufgabe requête pregunta consulta pergunta domanda richiesta
        vraag pytanie вопрос запрос soru câu.hỏi प्रश्न سؤال السؤال 问题 用户问题 提问 查询 問題 質問 질문
    """,
    "turn": "human user q",
    "material": """
        contexts? context.information context.documents? documents? docs sources? search.results? results passages?
        excerpts? extracts? snippets? chunks? articles? text transcript information background knowledge knowledge.base
        material references? data contents? facts evidence summaries chat.history conversation conversation.history
        current.conversation previous.conversation history messages existing.answer sql sql.?query sql.?result
        sql.response schema kontext dokumente? quellen? textauszüge auszüge informationen gesprächsverlauf verlauf
        contexte documents?.récupérés? informations historique extraits? contexto documentos? información historial
        fragmentos? contesto documenti informazioni informações histórico kontekst контекст документы bağlam
        上下文 背景 背景信息 背景資訊 参考资料 资料 已知信息 文档 对话历史 聊天记录
        コンテキスト 文脈 参考情報 資料 会話履歴 컨텍스트 문맥 문서
    """,
    "answer": """
        a answer helpful.answer final.answer refined.answer new.answer response reply assistant ai relevant.text
        standalone.question follow.up.questions? rephrased.question antwort hilfreiche.antwort réponse respuesta
        resposta risposta antwoord odpowiedź ответ cevap eigenständige.frage question.autonome pregunta.independiente
        答案 回答 回复 答 独立问题 답변 답
    """,
    "other": """
        instructions? rules guidelines constraints tools? table.names thought system critique revision criteria
        submission anweisungen regeln instrucciones consignes 要求 注意
    """,
}  # fmt: skip
_NAMES = {kind: "|".join(names.split()).replace(".", " ") for kind, names in _NAMES.items()}
_ASKER = (
    "(?:(?:the|this|original|follow[ -]?up|new|current|latest|last|final|customer|customer's|users?|user's|my|input"
    "|human|here is the|given) ){0,4}"
)
_ASKED = "(?:follow[ -]?up|new|user(?:'s)?|human|customer) (?:input|message|prompt|task)|follow[ -]?up"
_QUALIFIED = {"question": f"{_ASKER}(?:{_NAMES['question']})|{_ASKED}"}
_SUPPLIED = "(?:(?:retrieved|relevant|provided|given|additional|supporting|search|useful|help) ){0,2}"
_QUALIFIED["material"] = f"{_SUPPLIED}(?:{_NAMES['material']})"
_OWNER = r"(?: (?:des|der|du|de la|de l'|del|de|do|da|van de|of the|from the) ?\w{2,14})?"
_ANY = "|".join(f"(?P<{kind}>{_QUALIFIED.get(kind, names)})" for kind, names in _NAMES.items())

# A label: "Question:", "### Context", "**Frage**:", "[QUERY]:", "> Question:", ">>> USER INPUT:".
_LABEL = re.compile(
    rf"(?:^|\n)[ \t>#*\[=`_-]{{0,12}}(?=[^\W\d_])(?:{_ANY}){_OWNER}(?:[ \t]?\([^()\n]{{0,60}}\))?[ \t\]*_`]{{0,4}}"
    r"[:：](?:[*_]{1,4})?",
    re.IGNORECASE,
)
# A line of its own: "## Question", "[CONTEXT]", "=== ANSWER ===", "**Frage**".
_HEADING = re.compile(
    rf"(?:^|\n)[ \t]{{0,4}}(?:#{{1,6}}|\*{{2}}|\[|={{2,8}}|`)[ \t]?(?:{_ANY}){_OWNER}[ \t\]*_`=#]{{0,10}}(?=\n|\Z)",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(?P<close>/?)(?P<name>[A-Za-z][\w -]{0,40})(?: [^<>\n]{0,80})?>")
_TAGS: dict[_Kind, re.Pattern[str]] = {
    "question": re.compile(rf"{_QUALIFIED['question']}|user ?(?:question|query|input)|input", re.IGNORECASE),
    "material": re.compile(_QUALIFIED["material"], re.IGNORECASE),
    "other": re.compile(r"instructions?|rules|role|examples?|format|answer", re.IGNORECASE),
}
# In a line's middle, a label has a capital letter and stands behind a space: "… Context: … Question: … Answer:".
_INNER = re.compile(
    r"(?<=\s)(?=(?P<name>[A-ZÀ-Ý\u4e00-\u9fff\uac00-\ud7af][^\s:：]{0,20}(?: [^\s:：]{1,20}){0,4})"
    r"[ \t]?(?P<colon>[:：]))"
)
_NAME = re.compile(_ANY, re.IGNORECASE)
# A running sentence that ends in the question: "…, please answer the question: …", "The customer asks: …".
_RUNNING = re.compile(
    rf"\b(?:{_NAMES['question']}|asks?|asked|wants to know|is asking|answer to|answer (?:this|me|the following)"
    r"|, (?:please |then |now )?answer|tell me|fragt|demande|chiede)"
    r"(?: is)?(?: as follows| below|,? (?:based on|using|from|given) (?:the |all )?(?:above|these"
    r"|this)[^.:?\n]{0,30})?[ \t]?\Z",
    re.IGNORECASE,
)
# A question in quotes that leads to the material: 'Answer the question "…" from this text:'.
_QUOTED = re.compile(
    rf"[^\n\"“]{{0,120}}\b(?:{_NAMES['question']}|asks?|asked)[ \t]?[:,]?[ \t]?"
    r"[\"“](?P<question>[^\n\"“”]{3,400})[\"”][^\n]{0,120}:[ \t]*\n",
    re.IGNORECASE,
)
# A line at the end that leaves the question to the next one: "Answer the following with citations like [1]."
_ASKED_BELOW = re.compile(
    r"(?m)^[ \t]*(?:(?:now|please|then),? ){0,2}(?:answer|respond to|reply to) (?:the following|this|my)\b"
    r"[^\n]{0,120}[.:][ \t]*\n+",
    re.IGNORECASE,
)
# An order behind the question that says what to do with the material: "Use the snippets below to answer it."
_POINTS = re.compile(r"\b(?:below|above|following|provided|given|these|this)\b", re.IGNORECASE)
_ORDERS = re.compile(r"\s*(?:please )?(?:use|using|answer|respond|reply|base|rely|based|only)\b", re.IGNORECASE)
_QUESTION_MARKS = ("?", "？", "؟")
_COLON = re.compile(r"[:：](?=\s|['\"{<]|[\u3000-\u9fff])")
_MATERIAL_LED = re.compile(
    r"[^\n]{0,60}\b(?:context|documents?|information|sources?|passages?|text)\b[^\n]{0,20}:\s", re.IGNORECASE
)
# "…, based on the context below:": the question before it may say "from" and "with" itself.
_BASED = re.compile(
    r"\s(?:based|using|given|relying|from|with)\b[^\n]{0,60}\b(?:context|information|documents?|passages?|sources?|texts?"
    r"|excerpts?|snippets?|articles?|material|data|above|below|following)\b[^\n]{0,20}$",
    re.IGNORECASE,
)
_RULE = re.compile(
    r"(?m)^[ \t]*(?:\[/[A-Za-z _]{1,30}\]|[-=_*~#]{3,}|>>>|<<<|\"\"\"|```\w{0,12})[ \t]*$|<\|[a-z_]{1,20}\|>|\[/INST\]"
)
# How developers begin who write to the model, and users seldom do.
_TO_MODEL = re.compile(r"\s{0,9}(?:you are|you will be)\b", re.IGNORECASE)
_HERE_IS = re.compile(
    r"\s{0,9}(?:your (?:task|job|goal)|below (?:is|are)|here (?:is|are) (?:a|an|the|some))\b", re.IGNORECASE
)
_SECTION = re.compile(r"(?m)^<<[^<>\n]{1,60}>>")  # "<< FORMATTING >>"
_HISTORY = re.compile(
    r"(?:^|\n)[ \t>#*\[=<`_-]{0,12}(?:(?:chat|conversation|current|previous|recent|past|dialogue|message)[ _]?){0,2}"
    r"(?:history|conversation|messages|gesprächsverlauf|verlauf|historique|historial|histórico|对话历史|聊天记录|会話履歴)"
    r"[ \t\]*>`_=]{0,6}(?:[:\uff1a]|\n)",
    re.IGNORECASE,
)
_MARKED = re.compile(r"[:\uff1a<#\[*=`\n]")  # without one of these, a text has no field
_BEGIN = re.compile(r"(?m)^[ \t]*Begin[!.]?[ \t]*$")
_PLACEHOLDER = re.compile(
    r"\W{0,3}(?:\[[^\]\n]{0,80}\]|\{[^}\n]{0,80}\}|\$\{|<[^>\n]{1,60}>|\.\.\.|…"
    r"|(?:the )?(?:input )?question (?:here|you must)\b)",
    re.IGNORECASE,
)
_MATERIAL_NAMED = re.compile(
    r"\b(?:context|documents?|passages?|sources?|excerpts?|snippets?|notes|information|pieces|material|articles?|text"
    r"|results?|"
    r"conversation|history|kontext|dokumente?n?|auszüge\w?|informationen|contexte|extraits|contexto|documentos"
    r"|fragmentos|"
    r"contesto)\b|上下文|资料|信息|文档|内容|コンテキスト|情報|資料|문맥|문서",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Template:
    """A filled-in template.

    Args:
        question: None where it holds none that can be told from its material.
        instructions: What the developer wrote around it, as far as that can be told.
    """

    question: str | None
    instructions: str


@dataclass(frozen=True, slots=True)
class _Field:
    kind: _Kind
    start: int
    text: int  # where its text begins
    tagged: bool = False


@dataclass(frozen=True, slots=True)
class _Run:
    start: int
    end: int
    last: int  # index of its last field


@dataclass(frozen=True, slots=True)
class _Prompt:
    text: str
    fields: Sequence[_Field]

    def end(self, index: int) -> int:
        """Where the text of a field ends: at the next field, or at a ruled line."""
        following = self.fields[index + 1].start if index + 1 < len(self.fields) else len(self.text)
        rule = _RULE.search(self.text, self.fields[index].text, following)
        return rule.start() if rule is not None else following

    def first(self, *kinds: _Kind) -> int:
        """Where the first field of these kinds starts; the text's length where there is none."""
        return min((field.start for field in self.fields if field.kind in kinds), default=len(self.text))

    def has(self, kind: _Kind) -> bool:
        return any(field.kind == kind for field in self.fields)


def parsed(text: str) -> Template | None:
    """The template that made `text`; None where it looks like a user's own words. Linear in its length."""
    if _MARKED.search(text) is None:
        return None
    cut = _READ // 2 if len(text) > _READ else -1
    if cut > 0:
        text = f"{text[:cut]}\n{text[-cut:]}"
    fields = _fields(text)
    begun = _BEGIN.search(text)
    prompt = _Prompt(text, [field for field in fields if begun is None or field.start >= begun.end()])
    runs = _runs(prompt)
    found = _chosen(prompt, runs) if prompt.has("question") else _running(prompt)
    instructions = _around(_Prompt(text, fields), found)
    if found is None:
        if runs and (prompt.has("material") or _ends_in_cue(text)):
            return Template(None, instructions)
        return Template(None, text) if _is_developers(prompt, instructions) else None
    if found[0] <= cut < found[1]:
        return Template(None, instructions)  # of so long a question not all was looked at
    found = found[0], _before_orders(text, *found)
    question = _unquoted(text[found[0] : found[1]])
    outside = f"{text[: found[0]][:_HEAD]}\n{text[found[1] :][:_HEAD]}"
    evident = prompt.has("material") or _MATERIAL_NAMED.search(outside) or _ends_in_cue(text)
    evident = evident or work_of(outside.rstrip(":\n ")) != "answer"
    return Template(question, instructions) if question and evident else None


def around(text: str, question: str) -> str:
    """The instructions in a prompt whose question is known: what stands around it, less what is labelled as material.

    A prompt without the question in it is all instructions: it does something else for the question's sake.
    """
    if text.strip() == question.strip():
        return ""
    at = text.rfind(question) if question else -1
    if at < 0:
        template = parsed(text)
        return text if template is None else template.instructions
    if len(text) > _READ:
        return f"{text[: min(at, _HEAD)]}\n\n{text[at + len(question) :][-_HEAD:]}"
    return _around(_Prompt(text, _fields(text)), (at, at + len(question)))


def frame_of(text: str, question: str) -> tuple[str, str]:
    """What stands around the question: the developer's part of it, and all.

    The former holds what a user who may only fill in the question cannot change without being seen: the instructions,
    without numbers, and all that follows the question but the material. It is the same for other material, mostly.
    """
    at = text.rfind(question.strip()) if question.strip() else -1
    if at < 0:
        return "", text.strip()  # the question is known from elsewhere, or was changed
    end = at + len(question.strip())
    rest = f"{text[:at]}\x1f{text[end:]}"
    if len(text) > _READ:
        return _numberless(f"{text[: min(at, _HEAD)]}\x1f{text[end:][-_HEAD:]}"), rest
    fields = _fields(text)
    behind = [_seen(text, fields, index) for index, field in enumerate(fields) if field.start >= end]
    first = next((field.start for field in fields if field.start >= end), len(text))
    parts = [_around(_Prompt(text, fields), (at, end)), text[end:first], *behind]
    return _numberless("\x1f".join(parts)), rest


def _seen(text: str, fields: Sequence[_Field], index: int) -> str:
    """A field behind the question: its label alone where it holds material."""
    field = fields[index]
    following = fields[index + 1].start if index + 1 < len(fields) else len(text)
    return text[field.start : field.text if field.kind == "material" else following]


def _numberless(text: str) -> str:
    return " ".join(re.sub(r"\d+", "0", text).split())


def history_in(text: str, question: str) -> str:
    """The conversation that a template wrote around its question: "Chat History: …". Empty where there is none."""
    named = _HISTORY.search(text[:_READ])
    if named is None or text.strip() == question.strip():
        return ""
    at = text.rfind(question)
    return text[named.end() : at if at > named.end() else len(text)].strip()


def instructions_in(text: str) -> str:
    """A system message without the material that a template put into it, as far as that is marked."""
    if _MARKED.search(text) is None:
        return text
    return _instructions_in(text) if len(text) <= _KEPT else _instructions_in.__wrapped__(text)


@lru_cache(maxsize=128)  # system prompts come again and again
def _instructions_in(text: str) -> str:
    prompt = _Prompt(text[:_READ], _fields(text[:_READ]))
    first = prompt.first("material")
    return f"{text[:first]}\n\n{_after_rule(text[first:][-_HEAD:])}" if prompt.has("material") else text


def _is_developers(prompt: _Prompt, instructions: str) -> bool:
    """Whether a prompt without a question is a template for other work, and not a user's own words."""
    text = prompt.text
    if _ends_in_cue(text) and (prompt.has("material") or work_of(instructions) != "answer"):
        return True
    tagged = _SECTION.search(text) or any(field.tagged and field.kind == "other" for field in prompt.fields)
    marked = bool(prompt.fields) or _RULE.search(text) is not None
    addressed = tagged or (_TO_MODEL.match(text) and marked) or (_HERE_IS.match(text) and "\n" in text.strip())
    return bool(addressed) and work_of(text) != "answer"


def _fields(text: str) -> list[_Field]:
    """All fields, in order. What two patterns find at one place counts once."""
    found = [_Field(_kind(match), match.start(), match.end()) for match in _LABEL.finditer(text)]
    found += [_Field(_kind(match), match.start(), match.end()) for match in _HEADING.finditer(text)]
    taken = {field.text for field in found}
    for match in _INNER.finditer(text):
        named = _NAME.fullmatch(match["name"]) if len(match["name"]) > 1 else None
        if named is not None and match.end("colon") not in taken:
            found.append(_Field(_kind(named), match.start(), match.end("colon")))
    for match in _TAG.finditer(text):
        name = match["name"].lower().replace("-", " ").replace("_", " ")
        kind = next((kind for kind, names in _TAGS.items() if names.fullmatch(name)), None)
        if kind is not None and (name != "input" or "<input>" in text):  # those of web pages have names
            found.append(_Field("end" if match["close"] else kind, match.start(), match.end(), tagged=True))
    if _ends_in_cue(text) and _last_line(text) not in {field.start for field in found}:
        found.append(_Field("answer", _last_line(text), len(text)))
    return _with_turns(text, sorted(found, key=lambda field: (field.start, field.text)))


def _with_turns(text: str, fields: Sequence[_Field]) -> list[_Field]:
    """Of a conversation's turns the last one asks, if the model's is to follow; all others are what was said."""
    own, end = list(fields), len(text.rstrip())
    for at, field in enumerate(own):
        if field.kind == "turn":
            following = own[at + 1] if at + 1 < len(own) else None
            last = following is not None and following.kind == "answer" and following.text >= end
            own[at] = replace(field, kind="question" if last else "other")
    return own


def _kind(match: re.Match[str]) -> _Kind:
    return next(kind for kind in _NAMES if match[kind] is not None)


def _runs(prompt: _Prompt) -> list[_Run]:
    """The spans of questions. Question fields with nothing else between them are one: a user may write "Query:" too."""
    runs: list[_Run] = []
    joins = False
    closed = max((field.start for field in prompt.fields if field.kind == "end"), default=0)
    depth = 0  # of tags around material, in which nothing is the template's
    for index, field in enumerate(prompt.fields):
        if field.tagged and field.kind in {"material", "end"} and field.start <= closed:
            depth = max(depth + (1 if field.kind == "material" else -1), 0)
        if field.kind != "question" or depth:
            joins = False
            continue
        run = _Run(runs.pop().start if joins else field.text, prompt.end(index), index)
        if joins or not _PLACEHOLDER.match(prompt.text[run.start : run.end].strip()[:100]):
            runs.append(run)
            joins = not field.tagged
    return [run for run in runs if prompt.text[run.start : run.end].strip()]


def _chosen(prompt: _Prompt, runs: Sequence[_Run]) -> tuple[int, int] | None:
    """Where the template's own question begins and ends; None where none can be it, or two can."""
    candidates = [run for run in runs if not _is_answered(prompt, run.last + 1)]
    return (candidates[0].start, candidates[0].end) if len(candidates) == 1 else None


def _is_answered(prompt: _Prompt, following: int) -> bool:
    """Whether an answer follows at once, as in a page of questions and answers: then it is not what is asked now."""
    if following >= len(prompt.fields) or prompt.fields[following].kind != "answer":
        return False
    return bool(prompt.text[prompt.fields[following].text : prompt.end(following)].strip())


def _running(prompt: _Prompt) -> tuple[int, int] | None:
    """A question at the end of a running sentence: before any material on that line, else at the end of the prompt."""
    text = prompt.text
    quoted = _QUOTED.match(text)
    if quoted is not None:
        return quoted.span("question")
    first = next(_running_from(text, 0, _FIRST), None)
    if first is not None:
        line = text.find("\n", first)
        line = len(text) if line < 0 else line
        behind = text[line:].strip()
        based = _BASED.search(text, first, line)
        if behind and (based or _RULE.search(behind) or _MATERIAL_LED.match(behind)):
            return first, line if based is None else based.start()
    last = max(_running_from(text, max(len(text) - _LAST, 0), len(text)), default=None)
    if last is None:
        return _below(prompt)
    end = next((field.start for field in prompt.fields if field.start >= last), len(text))
    return (last, end) if "\n\n" not in text[last:end].strip() else None


def _below(prompt: _Prompt) -> tuple[int, int] | None:
    """A question without a label behind all material: below a line that leads to it, or behind a closing tag."""
    text = prompt.text.rstrip()
    start = max((match.end() for match in _ASKED_BELOW.finditer(text, max(len(text) - _LAST, 0))), default=None)
    last = prompt.fields[-1] if prompt.fields else None
    if start is None and last is not None and last.kind == "end" and "?" not in text[: prompt.first("material")]:
        start = last.text if text.endswith(_QUESTION_MARKS) else None
    asked = "" if start is None else text[start:].strip()
    return (text.rfind(asked), len(text)) if asked and "\n\n" not in asked else None


def _before_orders(text: str, start: int, end: int) -> int:
    """Where a question ends that paragraphs of orders about the material follow."""
    for _ in range(_ORDER_PARAGRAPHS):
        gap = text.rfind("\n\n", start, start + len(text[start:end].rstrip()))
        paragraph = text[gap:end]
        named = _POINTS.search(paragraph) and _MATERIAL_NAMED.search(paragraph)
        if gap < 0 or not text[start:gap].strip() or not (named and _ORDERS.match(paragraph)):
            break
        end = gap
    return end


def _running_from(text: str, start: int, end: int) -> Iterator[int]:
    """The places behind colons that end such a sentence."""
    for colon in islice(_COLON.finditer(text, start, end), _COLONS):
        if _RUNNING.search(text, max(colon.start() - _SENTENCE, 0), colon.start()):
            yield colon.end()


def _ends_in_cue(text: str) -> bool:
    """Whether the last line is a label without a text, which a model is to complete: "Answer:", "SUMMARY:"."""
    last = text.rstrip()[_last_line(text) :]
    return last.endswith((":", "\uff1a")) and len(last) <= _CUE and _last_line(text) > 0


def _last_line(text: str) -> int:
    return text.rstrip().rfind("\n") + 1


def _around(prompt: _Prompt, question: tuple[int, int] | None) -> str:
    """The instructions: before the first field, between the end of the material and the question, and behind it."""
    text = prompt.text
    first = min(prompt.first("question", "material"), len(text) if question is None else question[0])
    head = text[: min(first, _HEAD)]
    if not prompt.has("material"):
        # Material without a label begins with some paragraph, which is none of the developer's.
        paragraph = head.find("\n\n", _FIRST_PARAGRAPH)
        head = head if paragraph < 0 else head[:paragraph]
    parts = [head, _after_rule(text[max(first, len(text) - _HEAD) :]) if question is None else ""]
    if question is not None:
        start, end = question
        behind = text[end:] if prompt.first("material") < end else _after_rule(text[end:])
        lead = text[text.rfind("\n", 0, start) + 1 : start]
        parts += [_after_rule(text[first:start][-_HEAD:]) or lead[-_HEAD:], behind[-_HEAD:]]
    elif _ends_in_cue(text):
        parts.append(text[_last_line(text) :])
    return "\n\n".join(part.strip() for part in parts if part.strip())


def _after_rule(text: str) -> str:
    """What follows the last ruled line or closing tag; nothing where there is none, as it might be material."""
    ends = [match.end() for match in _RULE.finditer(text)]
    ends += [match.end() for match in _TAG.finditer(text) if match["close"]]
    return text[max(ends) :] if ends else ""


def _unquoted(text: str) -> str:
    text = text.strip()
    for quotes in ("'''", '"""', "```"):
        if len(text) > 6 and text.startswith(quotes) and text.endswith(quotes):
            return text[3:-3].strip()
    for quotes in ("''", '""', "“”", "``", "«»", "「」"):
        if len(text) > 2 and text[0] == quotes[0] and text[-1] == quotes[1]:
            return text[1:-1].strip()
    return text
