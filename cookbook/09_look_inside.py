"""Need: to know what a router does, to correct it, and to take what it learned elsewhere.

Shows: stats, explain and feedback; guides, which the strong model writes for the weak one and which are kept only when
they were shown to help; export and import. The command line does most of this too: see `rar --help`.

Run: python cookbook/09_look_inside.py
"""

import json

from _models import LARGE, SMALL, expect, play, scratch_file, show
from langchain_openai import ChatOpenAI

from langchain_rar import RouterChatModel
from rar import SQLiteMemory

GUIDE = """\
Use when: a price without tax is asked for.
1. Write the tax rate as a factor above one.
2. Divide the price by that factor.
Avoid: taking the rate off the price."""
LAMP, DESK, SOFA = (
    f"A {thing} costs {price} with 19% tax. What is it without?"
    for thing, price in (("lamp", 119), ("desk", 238), ("sofa", 357))
)
RIGHT = {LAMP: "100", DESK: "200", SOFA: "300"}
play(LARGE, {"You write short guides": GUIDE, **RIGHT})
play(SMALL, {f"{asked}\n\nThe notes below": answer for asked, answer in RIGHT.items()} | {"tax": "96.39"})

path = scratch_file()
model = RouterChatModel(
    ChatOpenAI(model=SMALL), ChatOpenAI(model=LARGE), memory=path, audit_rate=0.0, learning_budget=None
)
router, memory = model.router, model.router.memory


def ask(question: str) -> dict:
    message = model.invoke(question)
    show(question, message.content, message.response_metadata["rar"])
    router.flush()
    return message.response_metadata["rar"]


# The weak model fails alone, and succeeds with a guide that the strong one wrote. It is kept, tried on the next
# questions of this kind as well, and used once it helped on two of them.
for asked in (LAMP, DESK, SOFA):
    ask(asked)
decision = ask(DESK)
(guide,) = memory.guides()
print(f"\nguide {guide.id[:8]} is {guide.state}, helped {guide.helpful} times, harmed {guide.harmful} times:")
print(guide.text)
expect(guide.state == "active" and decision["guide_id"] == guide.id and decision["model"] == "weak")

why = router.explain(decision["decision_id"])
print(f"\nexplain: {why['reason']}, with confidence {why['confidence']:.2f}, looking at")
for neighbour in why["neighbours"]:
    print(f"  {neighbour['similarity']:.2f} {neighbour['text']}")

print("\nspent:")
for spend in router.stats().spending:
    print(
        f"  {spend.purpose:<7} {spend.model_id:<12} {spend.calls:>2} calls  {spend.usd * 1e6:>5.0f} millionths of a USD"
    )

# A user says that the answer was bad: what served it loses trust, here at once.
router.feedback(decision["decision_id"], good=False)
expect(ask(DESK)["model"] == "strong")

# Take it all along as JSON Lines. They hold questions and guides, and no key of a model.
lines = [json.dumps(record) for record in memory.export()]
copy = SQLiteMemory(scratch_file("copy.db"))
copy.load(json.loads(line) for line in lines)
print(f"\n{len(lines)} records taken along: {copy.stats().experiences} questions, guides {dict(copy.stats().guides)}")

# And what a person decides about a guide stands.
memory.set_guide_state(guide.id, "retired")
expect(ask(LAMP)["model"] == "strong")
