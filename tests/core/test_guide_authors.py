"""Who writes guides, and in which style: the strong model, or a third one, as the options of a router say."""

from __future__ import annotations

from typing import Any

import pytest

from rar import Router, SQLiteMemory
from rar.errors import ConfigurationError
from rar.memory.base import Batch
from rar.values import Call, Experience, Guide, Tally, question
from tests.core.world import GUIDES, Scripted, harbour, kind_of, orchard, pair, serve, strong_answer, truth, user_text

EXAMPLES = {
    "harbour": "Use when: a harbour fee is asked for.\nExample: What fee does a barge of 90 tonnes pay?\n"
    "1. Read the tonnage: 90.\n2. Multiply it by the port's rate: 270.\nResult: 270\nAvoid: guessing.",
    "orchard": "Use when: an orchard's yield is asked for.\nExample: How many baskets do 90 trees yield?\n"
    "1. Count the trees: 90.\n2. Add the bonus baskets: 790.\nResult: 790\nAvoid: guessing.",
}


def router(**options: Any) -> Router:
    usual = {"memory": ":memory:", "embedder": "hashing", "learning": "inline", "judge": "exact"}
    return Router(**{"learning_budget": None, **usual, **options})


def test_a_third_model_writes_the_guides() -> None:
    models, author = pair(), Scripted("writer-1", strong_answer)
    with router(guide_model=author, prices={"guide_model": (1.0, 1.0), "weak": (0, 0), "strong": (10, 10)}) as made:
        serve(made, models, harbour(3))
        (written,) = made.memory.guides()  # type: ignore[union-attr]
        spent = [spend for spend in made.stats().spending if spend.purpose == "guide"]

    assert author.calls["guide"] == 1
    assert models["strong"].calls["guide"] == 0
    assert written.author == "writer-1"
    by_role = {spend.role: (spend.model_id, spend.calls, spend.usd) for spend in spent}
    assert by_role["guide_model"] == ("writer-1", 1, pytest.approx(120e-6))
    assert by_role["weak"][0] == "small-1"


def test_the_strong_model_writes_them_by_default() -> None:
    models = pair()
    with router() as made:
        serve(made, models, harbour(3))
        (written,) = made.memory.guides()  # type: ignore[union-attr]

    assert (written.author, written.style) == ("big-1", "steps")
    assert models["strong"].calls["guide"] == 1


def test_what_a_third_model_costs_is_learning() -> None:
    author = Scripted("writer-1", strong_answer)
    prices = {"guide_model": (1e6, 1e6), "weak": (1, 1), "strong": (1, 1)}
    with router(guide_model=author, learning_budget=5.0, prices=prices) as made:
        for tonnes in (3, 4, 5, 6, 7):
            serve(made, pair(), question(f"What harbour fee does {'a very ' * tonnes}old port charge? {tonnes}"))

    assert author.calls["guide"] == 1  # the first showed what they cost


def test_a_function_may_write_guides() -> None:
    with router(guide_model=lambda messages: GUIDES["harbour"]) as made:
        serve(made, pair(), harbour(3))
        assert [guide.author for guide in made.memory.guides()] == ["<lambda>"]  # type: ignore[union-attr]


def test_no_further_model_may_take_the_authors_role() -> None:
    with pytest.raises(ConfigurationError, match="`guide_model=`"):
        Router(lambda messages: "", lambda messages: "", models={"guide_model": lambda messages: ""}, memory=None)


def test_what_is_no_model_cannot_write_guides() -> None:
    with pytest.raises(ConfigurationError, match="guide_model="):
        router(guide_model=3)


@pytest.mark.parametrize("style", ["example", "auto"])
def test_worked_examples_are_asked_for_and_kept_as_such(style: str) -> None:
    def answer(call: Call) -> str:
        if call.purpose != "guide":
            return strong_answer(call)
        prompt, quoted = (message.text for message in call.request.messages)
        kind = "harbour" if "harbour fee does" in quoted else "orchard"
        return EXAMPLES[kind] if "Example:" in prompt else GUIDES[kind]

    def weak(call: Call) -> str:
        text = user_text(call)
        return truth(text) if call.guide is not None and kind_of(text) in call.guide.text else "-1"

    models = {"weak": Scripted("small-1", weak), "strong": Scripted("big-1", answer)}
    with SQLiteMemory(":memory:") as memory, router(guide_style=style, memory=memory, policy="paper") as made:
        for request in (harbour(300), orchard(40)):
            serve(made, models, request)
        styles = [guide.style for guide in memory.guides()]

    assert styles == (["example", "example"] if style == "example" else ["steps", "example"])


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="example"):
        router(guide_style="poem")


def test_what_says_the_same_as_a_known_guide_counts_for_that_one() -> None:
    with router(clock=lambda: 30.0) as made:
        memory, embedder = made.memory, made.embedder
        assert memory is not None and embedder is not None
        asked = [one.key or "" for one in map(harbour, (3, *range(10, 30)))]
        origin, *vectors = embedder.embed(asked)
        known = Guide("known", "default", "answer", GUIDES["harbour"], origin, "big-1", "long gone", "active", 20)
        failed = tuple(Tally(id, "small-1", "big-1", 0, 1, last_ok=False, at=0.0) for id in (None, "known"))
        seen = [
            Experience(key, "default", "answer", key, key, vector, failed, created_at=float(at))
            for at, (key, vector) in enumerate(zip(asked[1:], vectors, strict=True))
        ]
        memory.write(Batch(experiences=tuple(seen), guides=(known,)))
        serve(made, pair(), harbour(3))
        by_id = {guide.id: guide for guide in memory.guides()}

    kept = by_id.pop("known")
    (double,) = by_id.values()
    assert (kept.state, kept.helpful) == ("active", 22)
    assert (double.state, double.text) == ("retired", kept.text)
