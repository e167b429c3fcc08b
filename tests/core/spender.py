"""A process that spends under a ceiling which others share: `python -m tests.core.spender ADDRESS NAME CEILING`."""

from __future__ import annotations

import json
import random
import sys
import time

from rar import Ceiling, FunctionModel, Router
from rar.errors import BudgetExceededError
from rar.memory.base import Batch, PolicyStep
from rar.values import Call, Reply, Usage, question

PRICE = 100.0  # USD per million output tokens: 1,000 tokens are a tenth
STEPS = 25


def main(address: str, name: str, ceiling: str) -> None:
    chance, paid = random.Random(name), []
    models = {one: FunctionModel(lambda messages: "42", one) for one in ("weak", "strong")}
    with Router(
        memory=address, embedder="hashing", learning="off", strategy=lambda _: "strong", over_limit="error",
        prices={"weak": (0.0, PRICE), "strong": (0.0, PRICE)}, spend=Ceiling(float(ceiling)),
    ) as router:  # fmt: skip
        for _ in range(200):  # by which the costs of calls are well known
            router.ledger.add("elsewhere", "serve", "strong", "strong", Usage(1, 1_000), usd=0.0)
        print("ready", flush=True)
        sys.stdin.readline()
        assert router.memory is not None
        refused = 0
        while refused < 3:
            try:
                decision = router.decide(question(f"What is {name}'s {len(paid)}?"), models)
            except BudgetExceededError:
                refused += 1
                time.sleep(0.3)
                continue
            tokens = round(1_000 * chance.uniform(0.5, 1.5)) if name.startswith("odd") else 1_000
            router.learn(decision, _reply(decision.call, tokens), models)
            paid.append(PRICE * tokens / 1e6)
            if len(paid) <= STEPS:
                router.memory.write(Batch(steps=(PolicyStep("default", 0.001, audit=True),)))
    print(json.dumps({"paid": sum(paid), "calls": len(paid), "steps": min(len(paid), STEPS)}), flush=True)


def _reply(call: Call, tokens: int) -> Reply:
    return Reply(call.model, "42", usage=Usage(1, tokens), model_id=call.model)


if __name__ == "__main__":
    main(*sys.argv[1:])
