"""Local models whose every answer is kept on disk: an interrupted run goes on, and a second one costs nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rar import Reply, Usage
from rar.injection import messages_of
from rar.local.server import LocalServer
from rar.local.weights import GGUFS, LocalModel
from rar.values import Call


class OutOfTimeError(Exception):
    """An answer is not recorded, and the time for making new ones is over."""


class Calls:
    """Answers by model, messages and sampling parameters, in an SQLite file. A server starts with its first new call.

    Args:
        file: Made where there is none.
        minutes: After these, recorded calls are still answered, others raise `OutOfTimeError`.
        threads: Of each server.
    """

    def __init__(self, file: Path, *, minutes: float, threads: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.made, self.seconds, self.misses = 0, 0.0, 0
        self._deadline, self._threads = time.monotonic() + 60.0 * minutes, threads
        self._stack, self._clients = ExitStack(), dict[str, Any]()
        self._db = sqlite3.connect(file, isolation_level=None, timeout=60.0)
        self._stack.callback(self._db.close)
        columns = "key TEXT PRIMARY KEY, answer TEXT, input_tokens INTEGER, output_tokens INTEGER, seconds REAL"
        self._db.execute(f"CREATE TABLE IF NOT EXISTS calls ({columns}) WITHOUT ROWID")

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def recorded(self, model: LocalModel, call: Call) -> tuple[str, int, int] | None:
        """Answer, input and output tokens, if this call was made before."""
        found = self._db.execute(
            "SELECT answer, input_tokens, output_tokens FROM calls WHERE key = ?", (_key(model, call),)
        )
        row: tuple[str, int, int] | None = found.fetchone()
        return row

    def make(self, model: LocalModel, call: Call) -> tuple[str, int, int]:
        """The recorded answer, or a new one.

        Raises:
            OutOfTimeError: There is none, and no time for a new one, or Ctrl-C ended it. `misses` counts these.
        """
        known = self.recorded(model, call)
        if known is not None:
            return known
        if time.monotonic() >= self._deadline:
            self.misses += 1
            raise OutOfTimeError
        try:
            client, started = self._client(model), time.monotonic()
            answer = client.chat.completions.create(**_parameters(model, call))
        except KeyboardInterrupt:
            self._deadline, self.misses = 0.0, self.misses + 1
            raise OutOfTimeError from None
        seconds = time.monotonic() - started
        row = answer.choices[0].message.content or "", answer.usage.prompt_tokens, answer.usage.completion_tokens
        self._db.execute("INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?)", (_key(model, call), *row, seconds))
        self.made, self.seconds = self.made + 1, self.seconds + seconds
        return row

    def _client(self, model: LocalModel) -> Any:
        if model not in self._clients:
            from openai import OpenAI  # noqa: PLC0415 - slow to import, and not needed where all is recorded

            server = self._stack.enter_context(LocalServer(model, threads=self._threads))
            self._clients[model] = OpenAI(base_url=server.url, api_key="local", timeout=600.0)
        return self._clients[model]


@dataclass(frozen=True)
class RecordedModel:
    """A local model as the router calls it. A request's options may hold `max_tokens`; others get `DEFAULT_TOKENS`."""

    role: LocalModel
    calls: Calls

    @property
    def id(self) -> str:
        return GGUFS[self.role].id

    def call(self, call: Call) -> Reply:
        text, into, out = self.calls.make(self.role, call)
        return Reply(self.role, text, usage=Usage(into, out), model_id=self.id)

    async def acall(self, call: Call) -> Reply:
        return await asyncio.to_thread(self.call, call)


DEFAULT_TOKENS = 224  # what a guide of 150 words needs


def _parameters(model: LocalModel, call: Call) -> dict[str, Any]:
    """All that an answer depends on."""
    messages: Sequence[dict[str, str]] = [
        {"role": message.role, "content": message.text + message.suffix} for message in messages_of(call)
    ]
    return {
        "model": GGUFS[model].id,
        "messages": messages,
        "max_tokens": call.request.options.get("max_tokens", DEFAULT_TOKENS),
        "temperature": 0.0 if call.sampling is None else call.sampling.temperature or 0.0,
        "seed": 1,
    }


def _key(model: LocalModel, call: Call) -> str:
    return hashlib.sha256(json.dumps(_parameters(model, call), sort_keys=True).encode()).hexdigest()
