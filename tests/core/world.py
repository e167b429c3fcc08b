"""A small scripted world: two kinds of questions that the weak model can answer only by a guide of that kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from rar.injection import messages_of
from rar.router import Router
from rar.values import Call, Decision, Reply, Request, Usage, question

GUIDES = {
    "harbour": "Use when: a harbour fee is asked for.\n1. Read the tonnage.\n2. Apply the port's rate to each tonne.\n"
    "Avoid: guessing.",
    "orchard": "Use when: an orchard's yield is asked for.\n1. Count the trees.\n2. Add the seasonal bonus basket.\n"
    "Avoid: guessing.",
}


def harbour(tonnes: int) -> Request:
    return question(f"What harbour fee does the port office charge a cargo ship of {tonnes} tonnes?")


def orchard(trees: int) -> Request:
    return question(f"How many baskets does an apple orchard with {trees} old trees yield in autumn?")


def easy(n: int) -> Request:
    return question(f"Please repeat this number after me without any change: {n}")


def kind_of(text: str) -> str:
    return "harbour" if "harbour fee does" in text else "orchard" if "orchard with" in text else "easy"


def truth(text: str) -> str:
    number = int("".join(character for character in text if character.isdigit()))
    return str({"harbour": number * 3, "orchard": number + 700, "easy": number}[kind_of(text)])


@dataclass
class Scripted:
    """A model that answers by `answer(call)`, and counts its calls by purpose."""

    id: str
    answer: Callable[[Call], str]
    calls: Counter[str] = field(default_factory=Counter)

    def call(self, call: Call) -> Reply:
        self.calls[call.purpose] += 1
        return Reply(call.model, self.answer(call), usage=Usage(100, 20), model_id=self.id)

    async def acall(self, call: Call) -> Reply:
        return self.call(call)


def user_text(call: Call) -> str:
    return next(message.text for message in call.request.messages if message.role == "user")


def weak_answer(call: Call) -> str:
    text = user_text(call)
    sent = "\n".join(message.text + message.suffix for message in messages_of(call))
    kind = kind_of(text)
    return truth(text) if kind == "easy" or GUIDES[kind] in sent else "-1"


def strong_answer(call: Call) -> str:
    if call.purpose == "guide":
        quoted = "\n".join(message.text for message in call.request.messages)
        return GUIDES["harbour" if "harbour fee does" in quoted else "orchard"]
    return truth(user_text(call))


def pair() -> dict[str, Scripted]:
    return {"weak": Scripted("small-1", weak_answer), "strong": Scripted("big-1", strong_answer)}


def teach_harbours(router: Router, models: dict[str, Scripted]) -> None:
    """Have a guide for harbours written, and be of help to two others, as it must be before it is used."""
    for tonnes in (3, 4, 5):
        serve(router, models, harbour(tonnes))


def serve(router: Router, models: dict[str, Scripted], request: Request) -> tuple[Decision, Reply]:
    """What a plugin does for one call."""
    decision = router.decide(request, models)
    reply = models[decision.model].call(decision.call)
    router.learn(decision, reply, models)
    return decision, reply
