"""What the tests of this folder share: two models of functions, a router that learns all it can, and a secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rar import FunctionModel, Router
from rar.values import Decision, Message, question
from tests.core.world import serve

SECRET = "TENANTSECRET"
WAIT = 60.0
GUIDE = "Use when: a colour is asked for.\n1. Think of what is common.\nAvoid: haste."


def models(
    weak: Callable[[Sequence[Message]], Any] = lambda messages: "red",
    strong: Callable[[Sequence[Message]], Any] = lambda messages: "red",
) -> dict[str, Any]:
    return {"weak": FunctionModel(weak, "small"), "strong": FunctionModel(strong, "large")}


def router(memory: Any, **options: Any) -> Router:
    options = {"embedder": "hashing", "learning_budget": None, "audit_rate": 0.0, "judge": "exact"} | options
    return Router(memory=memory, **options)


def ask(asked: Router, text: str, given: dict[str, Any] | None = None, **fields: Any) -> Decision:
    return serve(asked, given or models(), question(text, **fields))[0]


def on_disk(file: Path, word: str = SECRET) -> list[str]:
    """The names of the memory's files that hold `word`."""
    held = re.compile(word.encode(), re.IGNORECASE)
    return [part.name for part in file.parent.glob(f"{file.name}*") if held.search(part.read_bytes())]
