"""The models of every recipe, and what recipes print.

With OPENAI_API_KEY set, recipes talk to the real models. Without it they run offline: a fake server on the loopback
interface plays both models by a script, so that a recipe shows the same thing every time.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from threading import Lock
from typing import Any

from rar import Router

sys.path.append(str(Path(__file__).parents[1]))
from tests.fake_openai import FakeOpenAI, Json, Reply, text_of

SMALL, LARGE, LOCAL = "gpt-4o-mini", "gpt-4o", "qwen2.5:3b"
OFFLINE = "OPENAI_API_KEY" not in os.environ

_server = FakeOpenAI()
if OFFLINE:
    _server.__enter__()  # ends with the process
    os.environ |= {"OPENAI_API_KEY": "none", "OPENAI_API_BASE": _server.url, "OPENAI_BASE_URL": _server.url}
LOCAL_URL = _server.url if OFFLINE else "http://localhost:11434/v1"  # where Ollama listens


def play(model: str, answers: Mapping[str, str | Reply]) -> None:
    """Offline, have `model` give the first answer whose phrase is in the prompt. Tokens are counted as words."""

    def answer(body: Json) -> Reply:
        prompt = "\n".join(text_of(message) for message in body["messages"])
        found = next((answer for phrase, answer in answers.items() if phrase in prompt), "I am not sure.")
        reply = found if isinstance(found, Reply) else Reply(found)
        return replace(reply, usage=(len(prompt.split()), len(reply.text.split()) + 1))

    _server.script(model, answer)


def play_in_turn(model: str, answers: Mapping[str, Sequence[str]]) -> None:
    """As `play`, with several answers to a phrase, given in turn and again from the start."""
    turns = {phrase: cycle(given) for phrase, given in answers.items()}
    lock = Lock()  # drafts are asked for at the same time

    def answer(body: Json) -> Reply:
        prompt = "\n".join(text_of(message) for message in body["messages"])
        with lock:
            text = next((next(turn) for phrase, turn in turns.items() if phrase in prompt), "I am not sure.")
        return Reply(text, usage=(len(prompt.split()), len(text.split()) + 1))

    _server.script(model, answer)


def called(model: str) -> int:
    """How many chat requests the fake server got for `model`: what was really asked, in the background too."""
    return len(_server.calls(model))


def scratch_file(name: str = "rar.db") -> str:
    """A path that is new in every run. Your program names a file that stays."""
    return str(Path(tempfile.mkdtemp()) / name)


def show(question: str, answer: Any, decision: Mapping[str, Any]) -> None:
    """Print who answered, why, and what."""
    print(f"{decision['model']:<7} {decision['reason']:<15} {question:<46} {str(answer).strip()}")


def show_savings(router: Router) -> None:
    """Print what routing saved, what it cost to learn included."""
    saved = router.stats().savings
    share = "unknown" if saved.net_share is None else f"{saved.net_share:.0%}"
    print(f"\n{saved.served} served, {saved.served_strong} of them by the strong model; net saving {share}")


def expect(claim: bool) -> None:
    """Hold a recipe to what it claims. Real models may behave otherwise, so only the scripted ones are held to it."""
    assert claim or not OFFLINE, "the scripted models did not behave as this recipe says"
