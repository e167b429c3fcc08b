"""A memory of another kind: it passes the contract by one fixture, and a router learns with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rar import FunctionModel, Router
from rar.memory import Memory
from rar.memory.base import Batch
from rar.values import question
from tests.contract.memory import MemoryContract, experience, trial
from tests.core.world import serve
from tests.extending.dict_memory import DictMemory


class TestDictMemory(MemoryContract):
    @pytest.fixture
    def fresh(self) -> Callable[[], Memory]:
        return DictMemory


def test_a_router_learns_with_it() -> None:
    models = {name: FunctionModel(lambda messages: "red", name) for name in ("weak", "strong")}
    memory = DictMemory()
    with Router(memory=memory, embedder="hashing", policy="paper", learning="inline", learning_budget=None) as router:
        first, _ = serve(router, models, question("What colour has a ripe tomato?"))  # type: ignore[arg-type]
        again, _ = serve(router, models, question("What colour has a ripe tomato?"))  # type: ignore[arg-type]

        assert (first.model, again.model) == ("strong", "weak")
        assert router.explain(again.id)["neighbours"][0]["text"] == "What colour has a ripe tomato?"
        memory.delete(namespace="default")
        last, _ = serve(router, models, question("What colour has a ripe tomato?"))  # type: ignore[arg-type]
        assert last.model == "strong"


def test_what_is_least_used_goes_over_the_cap() -> None:
    memory = DictMemory(cap=2)
    memory.write(Batch((experience("a"), experience("b", updated_at=1.0)), trials=(trial("a"),)))
    memory.write(Batch((experience("c", updated_at=2.0),)))

    assert (memory.experience("b"), memory.stats().evicted) == (None, 1)
