"""Need: a cheap model is right on most sums, and now and then it slips.

Shows: `ChainOfThought` around `SelfConsistency`. The cheap model works each sum out several times, and no oftener than
it takes. What most drafts say is the answer. Where they disagree, the dear model answers. In LangChain and LlamaIndex.

Run: python cookbook/13_vote_and_stop_early.py
"""

from _models import LARGE, OFFLINE, SMALL, called, expect, play_in_turn, show
from langchain_openai import ChatOpenAI
from llama_index.llms.openai import OpenAI

from langchain_rar import RouterChatModel
from llama_index_rar import RouterLLM
from rar.strategies import ChainOfThought, SelfConsistency

EASY = "A train leaves at 9:40 and takes 85 minutes. At what minute past eleven does it arrive?"
HARD = "How many zeros does the factorial of 100 end in?"
play_in_turn(
    SMALL,
    {
        EASY: ["9:40 + 1:25 = 11:05.\nAnswer: 5", "85 minutes are 1:25.\nAnswer: 5", "It is 11:05.\nAnswer: 5"],
        HARD: ["100 / 5 = 20.\nAnswer: 20", "20 + 4 = 24.\nAnswer: 24", "Answer: 21", "Answer: 11"],
    },
)
play_in_turn(LARGE, {HARD: ["100 / 5 + 100 / 25 = 24.\nAnswer: 24"]})

# At most eight drafts. The vote ends as soon as one answer is ahead with a chance of 95 %.
vote = SelfConsistency("weak", samples=8, extractor="number", escalate_below=0.6)
strategy = ChainOfThought(vote, show="answer")

print("-- LangChain --")
model = RouterChatModel(ChatOpenAI(model=SMALL), ChatOpenAI(model=LARGE), strategy=strategy, memory=None)
for question in (EASY, HARD):
    message = model.invoke(question)
    facts = message.response_metadata["rar"]
    show(question, message.text, facts)
    print(f"        {len(facts['calls'])} calls: {facts['why']}")
    if OFFLINE:
        expect((message.text, facts["model"]) == {EASY: ("5", "weak"), HARD: ("24", "strong")}[question])
        expect(len(facts["calls"]) == {EASY: 4, HARD: 9}[question])  # four that agree are enough

print("\n-- LlamaIndex, by the same strategy --")
llm = RouterLLM(OpenAI(SMALL), OpenAI(LARGE), strategy=strategy, memory=None)
response = llm.complete(EASY)
show(EASY, response.text, response.additional_kwargs["rar"])
if OFFLINE:
    expect(response.text == "5")
    print(f"\nThe cheap model was asked {called(SMALL)} times, the dear one {called(LARGE)} times.")
    expect(called(LARGE) == 1)
