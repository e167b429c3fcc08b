"""A plugin in a hundred lines: every mode routes, fails over and learns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT, blocks
from tests.plugins import plain
from tests.plugins.plain import PlainRouter

QUESTION = "What is the capital of France?"
PLUGIN = Path(plain.__file__).read_text(encoding="utf-8")


def small(texts: Sequence[str]) -> Iterator[str]:
    yield from ("", "Paris", " it is")


def large(texts: Sequence[str]) -> Iterator[str]:
    yield from ("It is ", "Paris")


def broken(texts: Sequence[str]) -> Iterator[str]:
    yield ""
    raise ConnectionError("down")


def silent(texts: Sequence[str]) -> Iterator[str]:
    yield ""


async def _read(router: PlainRouter, text: str) -> str:
    return "".join([chunk async for chunk in router.astream(text)])


MODES: dict[str, Callable[[PlainRouter, str], str]] = {
    "sync": lambda router, text: router.ask(text),
    "async": lambda router, text: asyncio.run(router.aask(text)),
    "stream": lambda router, text: "".join(router.stream(text)),
    "astream": lambda router, text: asyncio.run(_read(router, text)),
    "batch": lambda router, text: router.batch([text])[0],
}


@pytest.fixture(params=MODES)
def serve(request: pytest.FixtureRequest) -> Callable[[PlainRouter, str], str]:
    return MODES[request.param]


def router_of(weak: Any, strong: Any = large, **options: Any) -> PlainRouter:
    return PlainRouter(weak, strong, **{"memory": ":memory:", "embedder": "hashing", "learning": "inline", **options})


def test_it_learns_which_model_is_good_enough(serve: Callable[[PlainRouter, str], str]) -> None:
    router = router_of(small, judge=lambda request, reference, candidate: "Paris" in candidate.text)

    assert [serve(router, QUESTION) for _ in range(2)] == ["It is Paris", "Paris it is"]


@pytest.mark.parametrize("weak", [broken, silent])
def test_the_strong_model_answers_for_a_weak_one(serve: Callable[[PlainRouter, str], str], weak: Any) -> None:
    router = router_of(weak, strategy=lambda _: "weak")

    assert serve(router, QUESTION) == "It is Paris"
    assert [call["failed"] for call in router.router.decisions()[0]["calls"] if call["model"] == "weak"]


def test_the_strong_models_error_is_the_callers(serve: Callable[[PlainRouter, str], str]) -> None:
    with pytest.raises(ConnectionError, match="down"):
        serve(router_of(small, broken, strategy=lambda _: "strong"), QUESTION)


def test_the_guide_builds_this_plugin_in_less_than_a_hundred_lines() -> None:
    *parts, _ = [block.code for block in blocks(ROOT / "docs" / "plugins.md") if block.language == "python"]

    assert len(parts) == 4
    assert all(part in PLUGIN for part in parts)
    assert len(PLUGIN.splitlines()) < 100
