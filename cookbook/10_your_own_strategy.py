"""Need: you know better than any memory who should answer, for example by a rule, or by looking at a draft.

Shows: a plain function as a strategy; `Cascade`, which shows the weak model's draft only where it is accepted; and a
strategy of your own, which runs in invoke, stream and async calls, in both frameworks, from one `steps`.

Run: python cookbook/10_your_own_strategy.py
"""

from dataclasses import dataclass

from _models import LARGE, SMALL, expect, play, show
from langchain_openai import ChatOpenAI

from langchain_rar import RouterChatModel
from rar import Answer, Call, Cascade, Reply, Request, Route, Sampling, Steps, ask_all
from rar.values import Choice

FACT, PROOF = "What is the capital of Peru?", "Prove that there is no largest prime."
play(LARGE, {FACT: "Lima", PROOF: "Multiply all primes and add one …"})
play(SMALL, {FACT: "Lima"})  # of the rest it says that it is not sure


def ask_both(strategy: object) -> list[str]:
    """Who answers the two questions. Strategies that recall nothing need no memory."""
    model = RouterChatModel(ChatOpenAI(model=SMALL), ChatOpenAI(model=LARGE), strategy=strategy, memory=None)
    messages = [model.invoke(question) for question in (FACT, PROOF)]
    for question, message in zip((FACT, PROOF), messages, strict=True):
        show(question, message.content, message.response_metadata["rar"])
    return [message.response_metadata["rar"]["model"] for message in messages]


print("-- a function: a model's name --")
expect(ask_both(lambda request: "strong" if "prove" in request.key.lower() else "weak") == ["weak", "strong"])

print("\n-- Cascade: the weak model drafts, and is shown only if it is sure --")
expect(ask_both(Cascade(lambda _, draft: "not sure" not in draft.text)) == ["weak", "strong"])


@dataclass(frozen=True)
class Unanimous:
    """The weak model answers where it says the same thing every time it is asked (self-consistency)."""

    samples: int = 3

    def steps(self, request: Request) -> Steps[Choice]:
        sample = Call("weak", request, sampling=Sampling(temperature=0.7))
        outcomes = yield from ask_all([sample] * self.samples)
        drafts = [outcome for outcome in outcomes if isinstance(outcome, Reply)]  # a call may have failed
        said = {draft.text for draft in drafts}
        if len(said) == 1 and "not sure" not in said.pop():
            return Answer(drafts[0], reason="unanimous")
        return Route("strong", reason="divided")  # routed to, not asked, so that its answer can stream


print("\n-- your own --")
expect(ask_both(Unanimous()) == ["weak", "strong"])
