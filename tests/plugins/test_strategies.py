"""Every strategy through both frameworks, in four modes, plain, with tools and with a schema, with models that fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rar.observers import Called, Decided
from tests.contract.strategies import STRATEGIES, WAYS, Product
from tests.fake_openai import FakeOpenAI, Reply

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
DOWN = Reply("down", status=500)
FAILING = {"all well": (), "weak down": ("small",), "strong alone": ("small", "code")}
CASES = [(way, who) for way, (form, *_) in WAYS.items() for who in FAILING if form == "plain" or who != "strong alone"]


class Notes:
    """Writes down what was decided and called."""

    def __init__(self) -> None:
        self.calls: list[Called] = []
        self.decisions = 0

    def called(self, event: Called) -> None:
        self.calls.append(event)

    def decided(self, event: Decided) -> None:
        self.decisions += 1


@pytest.fixture(scope="module")
def server() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.mark.parametrize(("way", "failing"), CASES)
@pytest.mark.parametrize("name", STRATEGIES)
async def test_a_strategy_answers_and_counts_every_call(name: str, way: str, failing: str, server: FakeOpenAI) -> None:
    form, make, ask = WAYS[way]
    server.clear()
    for model in FAILING[failing]:
        server.script(model, DOWN)
    notes = Notes()

    answer = await ask(make(server.url, STRATEGIES[name](), notes))

    if form == "plain":
        assert isinstance(answer, str) and answer
    elif form == "tools":
        assert answer == ["multiply"]
    else:
        assert (
            Product.model_validate(answer.model_dump()).result == 6
        )  # partial objects of streams have a class of their own
    assert notes.decisions == 1
    assert [call.purpose for call in notes.calls if call.error is None].count("serve") == 1
    assert len(notes.calls) == len(server.calls()), "a call was not counted, or counted twice"
    assert {call.model for call in notes.calls if call.error is not None} <= {"weak", "coder"}
