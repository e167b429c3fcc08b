"""Need: the small model fails at something that a person could explain to it in three lines.

Shows: a guide that you write, in a LlamaIndex program. It is checked, tried in the background, and used once it helped
on two questions. The command line adds guides too: see `rar guides add --help`.

Run: python cookbook/12_your_own_guides.py
"""

from _models import LARGE, SMALL, called, expect, play, scratch_file, show
from llama_index.llms.openai_like import OpenAILike

from llama_index_rar import RouterLLM
from rar.errors import GuideRefusedError

LAMP, DESK, SOFA = (
    f"On which shelf goes a {thing} of {weight} kilograms?"
    for thing, weight in (("lamp", 3), ("desk", 48), ("sofa", 90))
)
RIGHT = {LAMP: "A1", DESK: "C4", SOFA: "C9"}
play(LARGE, RIGHT)
play(SMALL, {f"{asked}\n\nThe notes below": answer for asked, answer in RIGHT.items()} | {"shelf": "Shelf 1"})

llm = RouterLLM(
    OpenAILike(model=SMALL, is_chat_model=True), OpenAILike(model=LARGE, is_chat_model=True),
    memory=scratch_file(), guides=False, audit_rate=0.0, learning_budget=None,
)  # fmt: skip
router = llm.router


def ask(question: str) -> dict:
    answer = llm.complete(question)
    show(question, answer.text, answer.additional_kwargs["rar"])
    router.flush()
    return answer.additional_kwargs["rar"]


# What is shown to other users is checked. An error says what to mend.
try:
    router.add_guide("Heavy things go to the back!", used_for=[LAMP])
except GuideRefusedError as error:
    print(f"refused: {error.flaw}\n")

guide = router.add_guide(
    """Use when: a question asks on which shelf something goes.
1. Choose the row: A below 10 kilograms, B below 40, C above.
2. Add the tens of the weight, or 1 if there are none.
Avoid: naming the row alone.""",
    used_for=[LAMP, DESK],
)
for asked in (LAMP, DESK, SOFA):
    ask(asked)
decision = ask(DESK)

kept = router.memory.guide(guide.id)
print(f"\nthe guide of a {kept.author} is {kept.state}, it helped {kept.helpful} times")
print(f"{called(LARGE)} calls of the large model")
expect(kept.state == "active" and decision["guide_id"] == guide.id and decision["model"] == "weak")

# If it turns out to be wrong, it is gone with one line.
router.quarantine_guides(guide.id)
expect(ask(LAMP)["model"] == "strong")
