"""Need: `cheap.with_fallbacks([expensive])` saves money, but falls back on errors only: a wrong answer is no error.

Shows: the same chain before and after. Failover on errors stays; what is new is that a question which the cheap model
gets wrong goes to the expensive one, and that this is known from your traffic.

Run: python cookbook/08_moving_from_with_fallbacks.py
"""

from _models import LARGE, SMALL, Reply, expect, play, scratch_file, show
from langchain_openai import ChatOpenAI

from langchain_rar import RouterChatModel

EASY, HARD = "What is the capital of Peru?", "How many r are in strawberry?"
cheap, expensive = ChatOpenAI(model=SMALL, max_retries=0), ChatOpenAI(model=LARGE)


def cheap_is(up: bool) -> None:
    knows = {EASY: "Lima", HARD: "2"} if up else {"": Reply("overloaded", status=503)}
    play(SMALL, knows)


play(LARGE, {EASY: "Lima", HARD: "3"})
cheap_is(up=True)

print("-- before: with_fallbacks --")
before = cheap.with_fallbacks([expensive])
for question in (EASY, HARD):
    print(f"{question:<46} {before.invoke(question).content}")
expect(before.invoke(HARD).content == "2")  # wrong, for good

print("\n-- after: RouterChatModel --")
after = RouterChatModel(weak=cheap, strong=expensive, memory=scratch_file(), audit_rate=0.0)


def ask(question: str) -> tuple[str, str]:
    message = after.invoke(question)
    show(question, message.content, message.response_metadata["rar"])
    after.router.flush()
    return message.response_metadata["rar"]["model"], message.content


for question in (EASY, HARD):
    ask(question)  # new questions go to the expensive model once, while the cheap one is tried in the background
expect(ask(EASY) == ("weak", "Lima"))
expect(ask(HARD) == ("strong", "3"))

print("\n-- the cheap model is down --")
cheap_is(up=False)
expect(ask(EASY) == ("strong", "Lima"))  # as before: nobody notices

# A router is a runnable like any other: a last resort is still `after.with_fallbacks([...])`. And `degrade=True` lets
# the cheap model answer when the expensive one is down, which is off unless you ask for it.
