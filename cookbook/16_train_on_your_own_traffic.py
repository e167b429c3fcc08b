"""Need: the small model fails at what your users ask. You want to train it on your own traffic, and send it more of it.

Shows: `store_answers=True` keeps the answers that a judge compared, redacted; `rar.training.examples` makes pairs of
them, in the format of TRL's trainers, and none of what nobody may learn from; they are deleted alone, when they are
used.

Run: python cookbook/16_train_on_your_own_traffic.py
"""

import json
import re
from pathlib import Path

from _models import LARGE, SMALL, expect, play, scratch_file, show
from langchain_openai import ChatOpenAI
from llama_index.llms.openai_like import OpenAILike

from langchain_rar import RouterChatModel
from llama_index_rar import RouterLLM
from rar import open_memory
from rar.training import examples

play(SMALL, {"Lyon": "Lyon", "Turin": "It is in France.", "Porto": "Spain", "secret": "Nothing"})
play(LARGE, {"Lyon": "Lyon", "Turin": "Italy", "Porto": "Portugal", "secret": "Nothing"})
path = scratch_file()


def redact(text: str) -> str:
    return re.sub(r"\S+@\S+", "[mail]", text)


options = {"memory": path, "judge": "exact", "store_answers": True, "redact": redact, "guides": False}

print("-- traffic in LangChain --")
model = RouterChatModel(ChatOpenAI(model=SMALL), ChatOpenAI(model=LARGE), **options)
for question in ("Write to me@example.com: Lyon", "In which country is Turin?"):
    message = model.invoke(question)
    show(question, message.content, message.response_metadata["rar"])
model.invoke("This is secret.", rar_learn=False)
model.router.close()

print("\n-- and in LlamaIndex --")
llm = RouterLLM(OpenAILike(model=SMALL, is_chat_model=True), OpenAILike(model=LARGE, is_chat_model=True), **options)
question = "In which country is Porto?"
response = llm.complete(question)
show(question, response.text, response.additional_kwargs["rar"])
again = llm.complete("Write to me@example.com: Lyon")
show("Write to me@example.com: Lyon", again.text, again.additional_kwargs["rar"])
llm.router.close()

print("\n-- pairs to train on --")
with open_memory(path) as memory:
    pairs = examples(memory, "dpo")
    for pair in pairs:
        print(pair["prompt"][-1]["content"], "|", pair["chosen"][0]["content"], "|", pair["rejected"][0]["content"])
    expect([pair["rejected"][0]["content"] for pair in pairs] == ["It is in France.", "Spain"])

    kept = examples(memory, "kto")
    expect("secret" not in json.dumps(kept))  # `rar_learn=False`
    expect("[mail]" in json.dumps(kept) and "@" not in json.dumps(kept))

    file = Path(scratch_file("pairs.jsonl"))
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    # Then `datasets.load_dataset("json", data_files=…)` reads it for `trl.DPOTrainer`: see benchmarks/training.py.

    print(f"{memory.drop_answers()} answers deleted; what was learned stays: {memory.stats().experiences} questions")
    expect(examples(memory, "sft") == [])
