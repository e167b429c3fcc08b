"""Need: your log says what each model answered and whether it was right. You want the cheapest cascade that keeps up.

Shows: `Cascade.fit` finds models and thresholds, learns to score drafts, and says what that is worth on questions that
took no part in the choice; the result is saved, loaded and served; `AgreementCascade` needs no log.

Run: python cookbook/15_fit_a_cascade.py
"""

import numpy as np
from _models import LARGE, LOCAL, LOCAL_URL, SMALL, expect, play, scratch_file, show
from langchain_openai import ChatOpenAI
from llama_index.llms.openai_like import OpenAILike

from langchain_rar import RouterChatModel
from llama_index_rar import RouterLLM
from rar.outcomes import Outcomes, Replies
from rar.strategies import AgreementCascade, Cascade

print("-- the log: sums, and what three models said --")
rng = np.random.default_rng(7)
RIGHT, USD = {"local": 0.5, "small": 0.75, "large": 0.97}, {"local": 0.0001, "small": 0.0004, "large": 0.01}
texts, replies, scores = [], [], []
for _ in range(300):
    a, b = rng.integers(100, 999, 2).tolist()
    ok = [rng.random() < chance for chance in RIGHT.values()]
    texts.append(f"How much is {a} plus {b}?")
    replies.append([f"{a} + {b} = {a + b}" if right else f"About {a + b + 7}, I think." for right in ok])
    scores.append([float(right) for right in ok])
log = Outcomes(texts, scores, tuple(RIGHT), costs=[list(USD.values())] * len(texts), replies=Replies(replies))

print("-- the cheapest cascade that keeps 95 % of the large model's quality --")
names = {"local": "local", "small": "weak", "large": "strong"}
cascade = Cascade.fit(log, keep_quality=0.95, names=names)
assert cascade.found is not None
quality, cost, gain = cascade.found.quality.value, cascade.found.cost.value, cascade.found.gain
print(f"{' -> '.join(cascade.models)}: quality {quality:.2f}, {cost:.4f} USD, ahead of a mix by {gain.value:.2f}")
expect(cascade.found.worthwhile and cost < 0.5 * USD["large"])
folder = scratch_file("cascade")
cascade.save(folder)

SURE, UNSURE = "How much is 120 plus 340?", "How much is 555 plus 666?"
play(LOCAL, {"340": "120 + 340 = 460", "666": "About 1228, I think."})
play(SMALL, {"340": "120 + 340 = 460", "666": "About 1229, I think."})
play(LARGE, {"340": "120 + 340 = 460", "666": "555 + 666 = 1221"})

print("\n-- served in LangChain --")
local = ChatOpenAI(model=LOCAL, base_url=LOCAL_URL)
model = RouterChatModel(
    ChatOpenAI(model=SMALL),
    ChatOpenAI(model=LARGE),
    models={"local": local},
    strategy=Cascade.load(folder),
    memory=None,
)
messages = [model.invoke(question) for question in (SURE, UNSURE)]
for question, message in zip((SURE, UNSURE), messages, strict=True):
    show(question, message.content, message.response_metadata["rar"])
expect(messages[1].response_metadata["rar"]["model"] == "strong")
expect(messages[0].response_metadata["rar"]["model"] != "strong")

print("\n-- the same in LlamaIndex, where two drafts that agree are enough --")
llm = RouterLLM(
    OpenAILike(model=SMALL, is_chat_model=True),
    OpenAILike(model=LARGE, is_chat_model=True),
    models={"local": OpenAILike(model=LOCAL, api_base=LOCAL_URL, is_chat_model=True)},
    strategy=AgreementCascade(["weak", "local"]),
    memory=None,
)
responses = [llm.complete(question) for question in (SURE, UNSURE)]
for question, response in zip((SURE, UNSURE), responses, strict=True):
    show(question, response.text, response.additional_kwargs["rar"])
expect([response.additional_kwargs["rar"]["reason"] for response in responses] == ["drafts_agree", "drafts_differ"])
