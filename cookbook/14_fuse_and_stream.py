"""Need: three models each see a part of the answer, and one good answer should stream.

Shows: `Fused`, which has all three draft at the same time and one of them make an answer of the drafts; a ranker that
was fitted to preferences and leaves the worst draft out; and what was called for it. In LangChain and in LlamaIndex.

Run: python cookbook/14_fuse_and_stream.py
"""

from _models import LARGE, LOCAL, LOCAL_URL, OFFLINE, SMALL, called, expect, play
from langchain_openai import ChatOpenAI
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike

from langchain_rar import RouterChatModel
from llama_index_rar import RouterLLM
from rar.strategies import Fused, Pair, PairRanker

ASKED = "What speaks for a four-day week?"
FUSED = "People rest more, and most firms find that as much gets done. Shifts are the hard part."
play(SMALL, {ASKED: "Rest: people are less tired and change jobs less often."})
play(LOCAL, {ASKED: "I'm sorry, I can't take sides."})
play(LARGE, {"Their drafts are quoted": FUSED, ASKED: "Output: most firms that tried it kept it. Shifts are hard."})

# What users preferred before: here, answers to refusals.
liked = "Most people who tried {n} days liked it, since they had more time."
pairs = [Pair(f"Should I work {n} days?", liked.format(n=n), "I'm sorry, I can't say.") for n in range(1, 30)]
ranker = PairRanker().fit(pairs)
strategy = Fused(["weak", "local", "strong"], ranker, fuser="strong", top_k=2)

print("-- LangChain --")
model = RouterChatModel(
    ChatOpenAI(model=SMALL),
    ChatOpenAI(model=LARGE),
    models={"local": ChatOpenAI(model=LOCAL, base_url=LOCAL_URL)},
    strategy=strategy,
    prices={"local": (0.0, 0.0)},
    memory=None,
)
chunks = list(model.stream(ASKED))
for chunk in chunks:
    print(chunk.text, end="", flush=True)
message = chunks[0] + chunks[1:]
print()
for call in message.response_metadata["rar"]["calls"]:
    print(
        f"  {call['model']:<7} {call['purpose']:<6} {call['input_tokens']:>4} tokens in {call['output_tokens']:>4} out"
    )
if OFFLINE:
    expect(message.text == FUSED and len(chunks) > 3)
    expect([call["purpose"] for call in message.response_metadata["rar"]["calls"]] == ["draft"] * 3 + ["serve"])

print("\n-- LlamaIndex, by the same strategy --")
llm = RouterLLM(
    OpenAI(SMALL),
    OpenAI(LARGE),
    models={"local": OpenAILike(LOCAL, api_base=LOCAL_URL, api_key="none", is_chat_model=True)},
    strategy=strategy,
    prices={"local": (0.0, 0.0)},
    memory=None,
)
for part in llm.stream_complete(ASKED):
    print(part.delta, end="", flush=True)
print(f"\n{part.additional_kwargs['rar']['why']}")
if OFFLINE:
    expect(part.text == FUSED)
    expect((called(SMALL), called(LOCAL), called(LARGE)) == (2, 2, 4))
