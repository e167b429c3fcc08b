"""The protocol of the RAR paper on recorded GSM8K answers: the same questions in five stages, shuffled anew in each.

Weak: Mixtral-8x7B, strong: GPT-4-1106. `policy="paper"`, the static router always says strong, the judge compares final
numbers, no guides (no guided answers were recorded). Everything else is the package as it ships: router, ladder, memory
file, MiniLM.

    RAR_DATA=... python benchmarks/paper_stages.py [--shuffles 5] [--questions 1000] [--embedder minilm]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from _data import rows

from rar import FunctionModel, Message, Reply, Router, Usage
from rar.embedding import as_embedder
from rar.embedding.cache import CachedEmbedder
from rar.learning.judges import NumberJudge
from rar.strategy import Steps
from rar.values import Call, Decision, question


@dataclass(frozen=True)
class Stage:
    """What one stage of one shuffle showed, as shares of its questions."""

    strong: float  # served by the strong model
    agreement: float  # served answers that agree with the strong model's


def recorded(answers: Mapping[str, str], id: str) -> FunctionModel:
    """A model that gives the recorded answer."""

    def answer(messages: Sequence[Message]) -> Reply:
        text = answers[messages[-1].text]
        return Reply(id, text, usage=Usage(len(messages[-1].text) // 4, len(text) // 4), model_id=id)

    return FunctionModel(answer, id)


def agrees(text: str, strong: str, weak: str) -> bool:
    steps: Steps[object] = NumberJudge().steps(question(text), Reply("strong", strong), Reply("weak", weak))
    try:
        next(steps)
    except StopIteration as stop:
        return bool(stop.value.agrees)
    raise AssertionError("this judge asks no model")


def run(questions: list[dict[str, str]], stages: int, seed: int, embedder: CachedEmbedder) -> list[Stage]:
    weak = {row["question"]: row["mixtral_8x7b_response"] for row in questions}
    strong = {row["question"]: row["gpt4_1106_response"] for row in questions}
    models = {"weak": recorded(weak, "mixtral-8x7b"), "strong": recorded(strong, "gpt-4-1106")}
    aligned = {text: agrees(text, strong[text], weak[text]) for text in weak}
    order, chance, results = list(weak), random.Random(seed), []
    with Router(
        **models,
        memory=":memory:",
        embedder=embedder,
        policy="paper",
        static_router=lambda _: 1.0,
        judge="number",
        guides=False,
        learning="inline",
        learning_budget=None,
        audit_rate=0.0,
        seed=seed,
    ) as router:
        for _ in range(stages):
            chance.shuffle(order)
            served = {text: ask(router, models, text) for text in order}
            to_strong = sum(decision.model == "strong" for decision in served.values())
            agreed = sum(decision.model == "strong" or aligned[text] for text, decision in served.items())
            results.append(Stage(to_strong / len(order), agreed / len(order)))
    return results


def ask(router: Router, models: Mapping[str, FunctionModel], text: str) -> Decision:
    decision = router.decide(question(text))
    reply = models[decision.model].call(Call(decision.model, decision.request))
    router.learn(decision, reply)
    return decision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shuffles", type=int, default=5)
    parser.add_argument("--stages", type=int, default=5)
    parser.add_argument("--questions", type=int, default=1_000)
    parser.add_argument("--embedder", default="minilm")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    questions = rows("gsm8k_mixtral_gpt4.csv.gz")[: args.questions]
    embedder = CachedEmbedder(as_embedder(args.embedder))
    embedder.embed([row["question"] for row in questions])
    runs = [run(questions, args.stages, seed, embedder) for seed in range(args.shuffles)]
    table = []
    for stage in range(args.stages):
        column = [results[stage] for results in runs]
        table.append(
            {
                "stage": stage + 1,
                "strong_mean": sum(s.strong for s in column) / len(column),
                "strong_max": max(s.strong for s in column),
                "agreement_mean": sum(s.agreement for s in column) / len(column),
                "agreement_min": min(s.agreement for s in column),
            }
        )
    if args.json:
        json.dump(table, sys.stdout)
        return
    runs = f"{args.shuffles} shuffles x {args.stages} stages"
    print(f"GSM8K, {len(questions)} questions, {runs}, policy=paper, {embedder.id}")
    print("stage   strong calls (mean, worst)   agreement with strong (mean, worst)")
    for row in table:
        print(
            f"{row['stage']:>5}   {row['strong_mean']:>10.1%} {row['strong_max']:>10.1%}"
            f"{row['agreement_mean']:>20.1%} {row['agreement_min']:>10.1%}"
        )


if __name__ == "__main__":
    main()
