"""Need: a router of your own in five minutes, from what your calls have shown already.

Shows: the past of a memory teaches a static router; its threshold is calibrated on calls that it did not see and drawn;
it is saved, loaded, and decides in a LangChain chain and a LlamaIndex query engine, from the text alone. `rar fit` and
`rar calibrate` do the same on the command line, from a memory or a table of outcomes.

Run: python cookbook/11_train_a_router.py
"""

from pathlib import Path
from typing import Any

from _models import LARGE, SMALL, expect, play, scratch_file, show
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from llama_index.core import Document, SummaryIndex
from llama_index.llms.openai import OpenAI

from langchain_rar import RouterChatModel
from llama_index_rar import RouterLLM
from rar.evaluation import metrics, plots, read_outcomes
from rar.routers import StackedRouter, load
from rar.strategies import Threshold

THINGS = ["lamp", "desk", "chair", "shelf", "clock", "stool", "couch", "bench", "table", "fan", "mirror", "rug"]
PRICES = [f"What is the price of the {thing} in {place}?" for thing in THINGS for place in ("Oslo", "Rome")]
CLAIMS = [f"Does the warranty of the {thing} cover {harm}?" for thing in THINGS for harm in ("rain", "fire")]
play(LARGE, {"price": "40 euros", "warranty": "Yes, by section 4."})
play(SMALL, {"price": "40 euros"})  # of warranties it says that it is not sure

# 1. The past: each question was asked once; where the strong model answered, the weak one was tried in the background.
MEMORY = scratch_file()
settings: dict[str, Any] = {"memory": MEMORY, "guides": False, "learning_budget": None}
model = RouterChatModel(ChatOpenAI(model=SMALL), ChatOpenAI(model=LARGE), **settings, audit_rate=1.0)  # checks them all
for question in [question for two in zip(PRICES, CLAIMS, strict=True) for question in two]:
    model.invoke(question)
    model.router.flush()
model.router.close()

# 2. Fit to the older calls, and look at the younger ones.
past = read_outcomes(MEMORY)
seen, unseen = past.take(range(32)), past.take(range(32, len(past)))
router = StackedRouter().fit(seen)
print(f"{router}\nAPGR on unseen calls: {metrics.apgr(router.score(unseen.texts), *unseen.scores.T):.2f}")

# 3. The threshold that loses at most a twentieth of the strong model's quality, on calls that it was not fitted to.
threshold = router.calibrate(unseen, max_drop=0.05)
curve = plots.threshold("unseen calls", router.score(unseen.texts), *unseen.scores.T, threshold)
picture = scratch_file("calibration.png")
curve.savefig(picture, dpi=150)
print(f"threshold {threshold:.2f}, drawn in {picture}")
expect(Path(picture).read_bytes().startswith(b"\x89PNG"))

# 4. Save, load, and serve: no memory is needed, and nothing is learned while it decides.
folder = router.save(scratch_file("router"))
strategy = Threshold(load(folder))  # with the threshold that was saved
options: dict[str, Any] = {"strategy": strategy, "memory": None}

PRICE, CLAIM = "What is the price of the sofa in Oslo?", "Does the warranty of the sofa cover fire?"
prompt = ChatPromptTemplate.from_messages([("system", "Answer briefly."), ("user", "{question}")])
chain = prompt | RouterChatModel(ChatOpenAI(model=SMALL), ChatOpenAI(model=LARGE), **options)
print("\n-- a LangChain chain --")
messages = [chain.invoke({"question": question}) for question in (PRICE, CLAIM)]
for question, message in zip((PRICE, CLAIM), messages, strict=True):
    show(question, message.content, message.response_metadata["rar"])
expect([message.response_metadata["rar"]["model"] for message in messages] == ["weak", "strong"])

print("\n-- a LlamaIndex query engine --")
llm = RouterLLM(OpenAI(model=SMALL), OpenAI(model=LARGE), **options)
engine = SummaryIndex.from_documents([Document(text="Prices and terms of the house.")]).as_query_engine(llm=llm)
answers = [(question, str(engine.query(question))) for question in (PRICE, CLAIM)]
for question, answer in answers:
    print(f"{question:<46} {answer}")
expect([answer for _, answer in answers] == ["40 euros", "Yes, by section 4."])
