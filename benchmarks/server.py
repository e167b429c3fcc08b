"""What `rar serve` adds to a call: beside the endpoint itself and, where there is one, LiteLLM's proxy, in one run.

    python benchmarks/server.py [--rate 50] [--seconds 20] [--litellm /path/to/python-with-litellm]

Each server is a process of its own, and so is the endpoint, which answers at once. Requests arrive by chance at the
given rate, whether or not those before them are answered (open loop), to one target after the other, in rounds. The
figures are end to end, as a client sees them. At the end a thousand streams at once are read and compared word by word.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

QUESTIONS = 200  # that are asked again and again, as users do
ROUNDS = 3
KEY = "sk-of-this-benchmark-alone"


# ── the endpoint ──


async def complete(http: Request) -> Response:
    body = await http.json()
    words = f"You said: {body['messages'][-1]['content']}".split(" ")
    frame = {"id": "c", "created": 0, "model": body["model"]}
    if not body.get("stream"):
        message = {"role": "assistant", "content": " ".join(words)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 20, "completion_tokens": len(words), "total_tokens": 20 + len(words)}
        return JSONResponse({**frame, "object": "chat.completion", "choices": [choice], "usage": usage})

    async def events() -> AsyncIterator[str]:
        for at, word in enumerate(words):
            delta = {"index": 0, "delta": {"content": word if at == 0 else f" {word}"}, "finish_reason": None}
            yield f"data: {json.dumps({**frame, 'object': 'chat.completion.chunk', 'choices': [delta]})}\n\n"
            await asyncio.sleep(0.001)
        ended = {"index": 0, "delta": {}, "finish_reason": "stop"}
        yield f"data: {json.dumps({**frame, 'object': 'chat.completion.chunk', 'choices': [ended]})}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


def endpoint(port: int) -> None:
    app = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])
    uvicorn.run(app, port=port, log_level="error", access_log=False)


# ── the servers ──


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def process(command: list[str], url: str, folder: Path, patience: float = 120.0) -> Iterator[None]:
    """A server's process, once it answers."""
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=folder) as running,  # noqa: S603 - our own servers
    ):
        try:
            end = time.monotonic() + patience
            while True:
                try:
                    httpx.get(url, timeout=5)
                    break
                except httpx.TransportError:
                    if running.poll() is not None or time.monotonic() > end:
                        raise SystemExit((folder / "log").read_text()[-2_000:]) from None
                    time.sleep(0.2)
            yield
        finally:
            running.terminate()


def rar_config(folder: Path, upstream: str) -> Path:
    models = "".join(
        f'[models.{role}]\nmodel = "{role}-1"\nbase_url = "{upstream}"\nprice = {price}\n'
        for role, price in (("weak", "[0.1, 0.4]"), ("strong", "[2, 8]"))
    )
    file = folder / "rar.toml"
    file.write_text(f'{models}[router]\nmemory = "{folder / "rar.db"}"\nquality = 0.9\n', encoding="utf-8")
    return file


def litellm_config(folder: Path, upstream: str) -> Path:
    file = folder / "litellm.yaml"
    file.write_text(
        "model_list:\n  - model_name: rar\n    litellm_params:\n      model: openai/strong-1\n"
        f"      api_base: {upstream}\n      api_key: none\ngeneral_settings:\n  master_key: {KEY}\n",
        encoding="utf-8",
    )
    return file


# ── the clients ──


def body_of(n: int, **given: Any) -> dict[str, Any]:
    text = f"What is the answer to question {n % QUESTIONS} of the catalogue of harbour fees?"
    return {"model": "rar", "messages": [{"role": "user", "content": text}], **given}


async def latencies(url: str, rate: float, seconds: float, seed: int) -> list[float]:
    """Milliseconds that each request took."""
    chance, taken = random.Random(seed), []
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    async with httpx.AsyncClient(timeout=60, limits=limits, headers={"Authorization": f"Bearer {KEY}"}) as client:

        async def one(n: int) -> None:
            begun = time.perf_counter()
            answer = await client.post(f"{url}/chat/completions", json=body_of(n))
            answer.raise_for_status()
            taken.append((time.perf_counter() - begun) * 1_000)

        tasks, end, n = [], time.monotonic() + seconds, 0
        while time.monotonic() < end:
            tasks.append(asyncio.create_task(one(chance.randrange(QUESTIONS))))
            n += 1
            await asyncio.sleep(chance.expovariate(rate))
        await asyncio.gather(*tasks)
    return taken


async def streams(url: str, count: int) -> int:
    """How many of `count` streams at once gave exactly their own text."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=300, limits=limits) as client:

        async def one(n: int) -> bool:
            text = f"stream {n}: " + " ".join(str(n * k) for k in range(30))
            body = {"model": "rar", "messages": [{"role": "user", "content": text}], "stream": True}
            said = ""
            async with client.stream("POST", f"{url}/chat/completions", json=body) as answer:
                answer.raise_for_status()
                async for line in answer.aiter_lines():
                    if line.startswith("data: {"):
                        choices = json.loads(line[6:])["choices"]
                        said += (choices[0]["delta"].get("content") or "") if choices else ""
            return said == f"You said: {text}"

        return sum(await asyncio.gather(*(one(n) for n in range(count))))


def row(name: str, taken: list[float], base: list[float]) -> str:
    own, direct = np.percentile(taken, [50, 95, 99]), np.percentile(base, [50, 95, 99])
    figures = "  ".join(f"{value:7.2f}" for value in (*own, *(own - direct)))
    return f"{name:28}  {figures}  {len(taken):6}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--litellm")
    parser.add_argument("--endpoint", type=int)
    given = parser.parse_args()
    if given.endpoint:
        return endpoint(given.endpoint)
    with contextlib.ExitStack() as open_ones:
        folders = [Path(open_ones.enter_context(tempfile.TemporaryDirectory())) for _ in range(3)]
        ports = [free_port() for _ in range(3)]
        urls = [f"http://127.0.0.1:{port}/v1" for port in ports]
        here = [sys.executable, str(Path(__file__).resolve()), "--endpoint", str(ports[0])]
        open_ones.enter_context(process(here, urls[0], folders[0]))
        serve = ["-m", "rar.cli", "serve", str(rar_config(folders[1], urls[0])), "--port", str(ports[1])]
        open_ones.enter_context(process([sys.executable, *serve], urls[1], folders[1]))
        targets = {"the endpoint itself": urls[0], "rar serve": urls[1]}
        if given.litellm:
            command = ["-m", "litellm.proxy.proxy_cli", "--config", str(litellm_config(folders[2], urls[0]))]
            command = [given.litellm, *command, "--port", str(ports[2])]
            open_ones.enter_context(process(command, urls[2], folders[2]))
            targets["LiteLLM's proxy"] = urls[2]
        taken: dict[str, list[float]] = {name: [] for name in targets}
        for seed in range(-1, ROUNDS):
            for name, url in targets.items():
                found = asyncio.run(latencies(url, given.rate, given.seconds / ROUNDS, seed))
                taken[name] += found if seed >= 0 else []  # the first round warms up, and teaches
        print(f"{given.rate:g} requests a second, {given.seconds:g} s each; milliseconds")
        print(f"{'':28}  {'p50':>7}  {'p95':>7}  {'p99':>7}  {'+p50':>7}  {'+p95':>7}  {'+p99':>7}  {'calls':>6}")
        for name, figures in taken.items():
            print(row(name, figures, taken["the endpoint itself"]))
        right = asyncio.run(streams(urls[1], given.streams))
        print(f"\n{right} of {given.streams} streams at once gave exactly their own text")
    return None


if __name__ == "__main__":
    main()
