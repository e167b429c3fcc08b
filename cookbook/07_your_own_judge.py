"""Need: "the same answer" means something of its own in your field.

Shows: a judge is a function of the request, the strong answer and the weak one; or, where it must ask a model, a class
whose `steps` yields that call. It says True, False, or None where it cannot tell; then nothing is learned.

Run: python cookbook/07_your_own_judge.py
"""

import re
from dataclasses import dataclass

from _models import LARGE, SMALL, called, expect, play, scratch_file, show
from langchain_openai import ChatOpenAI

from langchain_rar import RouterChatModel
from rar import Message, Reply, Request, Steps, ask
from rar.learning.judges import Verdict, quoted

DOSE, TONE = "Which dose of ibuprofen for 70 kg?", "Reply to a customer whose parcel is late."
play(LARGE, {"Is the second as polite": "yes", DOSE: "400 mg", TONE: "We are sorry! It is on its way."})
play(SMALL, {DOSE: "Take 0.4 g.", TONE: "Apologies! Your parcel will be there soon."})


def same_dose(_request: Request, reference: Reply, candidate: Reply) -> bool | None:
    """Whether both name one dose, in whatever unit."""
    expected, given = milligrams(reference.text), milligrams(candidate.text)
    return None if expected is None else expected == given


def milligrams(text: str) -> float | None:
    found = re.search(r"([\d.]+) ?(mg|g)\b", text)
    return float(found[1]) * {"mg": 1, "g": 1000}[found[2]] if found else None


@dataclass(frozen=True)
class AsPolite:
    """Asks the strong model whether the weak answer is as polite. The router makes the call, and counts its cost."""

    name = "as_polite"

    def steps(self, request: Request, reference: Reply, candidate: Reply) -> Steps[Verdict]:
        text = (
            f"{quoted('first', reference.text)}\n{quoted('second', candidate.text)}\nIs the second as polite? yes or no"
        )
        reply = yield from ask("strong", Request((Message("user", text),), learn=False), purpose="judge")
        return Verdict(reply.text.strip().lower().startswith("yes"), self.name)


def second_answer(question: str, judge: object) -> str:
    """Ask twice, with learning in between; who answered the second time."""
    weak, strong = ChatOpenAI(model=SMALL), ChatOpenAI(model=LARGE)
    model = RouterChatModel(weak, strong, memory=scratch_file(), judge=judge, audit_rate=0.0)
    for _ in range(2):
        message = model.invoke(question)
        show(question, message.content, message.response_metadata["rar"])
        model.router.flush()
    return message.response_metadata["rar"]["model"]


print('-- judge="exact": other words are another answer --')
expect(second_answer(DOSE, "exact") == "strong")

print("\n-- a function --")
expect(second_answer(DOSE, same_dose) == "weak")

print("\n-- a judge that asks a model --")
before = called(LARGE)
expect(second_answer(TONE, AsPolite()) == "weak")
expect(called(LARGE) - before == 2)  # one to serve, one to judge
