"""What one call costs on top of an instant model, beside `with_fallbacks` and the router of langchain-model-router.

All are asked the same questions in turn, in one process. Ours has a memory of 10,000 records and the embeddings of
the questions at hand; learning is off, since it runs on another thread. `langchain-model-router` decides by its
heuristic. A repeated question follows its own verdict; a new one is searched for among the records.

    pip install langchain-model-router==0.1.0
    python benchmarks/plugin_overhead.py [--records 10000] [--calls 2000]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from decision_latency import CLUSTERS, DIM, Table, clustered, filled
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_model_router import ChatRouter, HeuristicStrategy

from langchain_rar import RouterChatModel


class Instant(BaseChatModel):
    """Answers at once."""

    model_name: str

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("4"))])

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk("4"))


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e6


class Repeating:
    """A model that is asked a stored question in the place of each new one."""

    def __init__(self, model: BaseChatModel, stored: dict[str, str]) -> None:
        self._model, self._stored = model, stored

    def invoke(self, text: str) -> Any:
        return self._model.invoke(self._stored[text])

    def stream(self, text: str) -> Iterator[Any]:
        return self._model.stream(self._stored[text])


def report(mode: str, models: dict[str, Any], asked: list[str]) -> None:
    times: dict[str, list[float]] = {name: [] for name in models}
    for text in asked:
        for name, model in models.items():
            if mode == "invoke":
                times[name].append(timed(lambda m=model, t=text: m.invoke(t)))
            else:
                times[name].append(timed(lambda m=model, t=text: list(m.stream(t))))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"{mode}: microseconds a call (median / p95); overhead over the direct call, against langchain-model-router's"
    )
    peer = medians["langchain-model-router"] - medians["direct"]
    for name, values in times.items():
        over = medians[name] - medians["direct"]
        p95 = np.percentile(values, 95)
        print(f"  {name:<26} {medians[name]:>6.0f} / {p95:>6.0f}   +{over:>5.0f}   {over / peer:>5.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=2_000)
    args = parser.parse_args()
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(CLUSTERS, DIM)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    texts = [f"Stored question number {n} about topic {n % CLUSTERS}?" for n in range(args.records)]
    asked = [f"New question number {n} about topic {n % CLUSTERS}?" for n in range(args.calls)]
    table = Table(dict(zip(asked, clustered(chance, centres, args.calls), strict=True)))
    weak, strong = Instant(model_name="small"), Instant(model_name="big")
    with tempfile.TemporaryDirectory() as folder:
        memory = filled(Path(folder) / "rar.db", texts, clustered(chance, centres, args.records))
        ours = RouterChatModel(weak, strong, memory=memory, embedder=table, learning="off")
        ours.router.embedder.embed(asked)
        models = {
            "direct": strong,
            "with_fallbacks": weak.with_fallbacks([strong]),
            "langchain-model-router": ChatRouter(
                routes={"weak": weak, "strong": strong},
                default_route="strong",
                strategy=HeuristicStrategy("weak", "strong"),
            ),
            "RouterChatModel, new": ours,
            "RouterChatModel, repeated": Repeating(ours, dict(zip(asked, texts, strict=False))),
            "RouterChatModel, no memory": RouterChatModel(weak, strong, memory=None),
        }
        for model in models.values():
            for text in asked[:50]:
                model.invoke(text)
        memory.settle()  # its graph is built in the background
        for mode in ("invoke", "stream"):
            report(mode, models, asked)
        ours.router.close()
        memory.close()


if __name__ == "__main__":
    main()
