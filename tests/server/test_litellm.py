"""LiteLLM's own proxy serves routed models through our provider: a real process on the loopback interface."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fake_openai import FakeOpenAI

pytest.importorskip("litellm", reason="LiteLLM is not installed: pip install 'litellm[proxy]'")
pytest.importorskip("litellm.proxy.proxy_cli", reason="LiteLLM's proxy is not installed")
openai = pytest.importorskip("openai")

pytestmark = pytest.mark.slow

PROXY = """
model_list:
  - model_name: rar/default
    litellm_params: {model: rar/default}
  - model_name: strongest
    litellm_params: {model: rar/strong}
litellm_settings:
  custom_provider_map:
    - {provider: rar, custom_handler: rar_handler.handler}
general_settings:
  master_key: sk-master
"""
ASKED: Any = [{"role": "user", "content": "What is the capital of France?"}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


@dataclass(frozen=True)
class Proxy:
    url: str
    fake: FakeOpenAI

    def client(self) -> Any:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="sk-master", max_retries=0)

    def models(self) -> list[str]:
        return [sent.model for sent in self.fake.calls()]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    with FakeOpenAI() as fake, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        models = "".join(f'[models.{role}]\nmodel = "{name}"\nbase_url = "{fake.url}"\n'
                         for role, name in (("weak", "small-1"), ("strong", "large-1")))  # fmt: skip
        router = f'[router]\nmemory = "{folder / "rar.db"}"\nembedder = "hashing"\nlearning = "inline"\nseed = 0\n'
        (folder / "rar.toml").write_text(models + router, encoding="utf-8")
        handler = "from rar.integrations.litellm import provider\n\nhandler = provider('rar.toml')\n"
        (folder / "rar_handler.py").write_text(handler, encoding="utf-8")
        (folder / "proxy.yaml").write_text(PROXY, encoding="utf-8")
        command = [sys.executable, "-m", "litellm.proxy.proxy_cli", "--config", "proxy.yaml", "--port", str(port)]
        surroundings = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=surroundings)
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(900):
                try:
                    if httpx.get(f"{url}/health/liveliness", timeout=5).status_code == 200:
                        break
                except httpx.TransportError:
                    assert process.poll() is None, (folder / "log").read_text()[-3_000:]
                time.sleep(0.1)
            yield Proxy(url, fake)
        finally:
            process.kill()
            process.wait()


def test_chat_completions_learn(proxy: Proxy) -> None:
    proxy.fake.clear()
    with proxy.client() as client:
        first, second = (client.chat.completions.create(model="rar/default", messages=ASKED) for _ in range(2))

    assert first.choices[0].message.content == second.choices[0].message.content
    assert proxy.models() == ["large-1", "small-1", "small-1"]


def test_streams_and_tools_work(proxy: Proxy) -> None:
    asked: Any = [{"role": "user", "content": "Say harbour"}]
    with proxy.client() as client:
        chunks = list(client.chat.completions.create(model="rar/default", messages=asked, stream=True))
        called = client.chat.completions.create(
            model="rar/default", messages=[{"role": "user", "content": "Use weather"}], tools=TOOLS
        )

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "You said: Say harbour"
    assert called.choices[0].message.tool_calls[0].function.name == "weather"


def test_the_responses_and_the_messages_api_work_too(proxy: Proxy) -> None:
    with proxy.client() as client:
        said = client.responses.create(model="rar/default", input="Say orchard")
    answer = httpx.post(
        f"{proxy.url}/v1/messages",
        headers={"x-api-key": "sk-master", "anthropic-version": "2023-06-01"},
        json={"model": "rar/default", "max_tokens": 50, "messages": [{"role": "user", "content": "Say ballad"}]},
        timeout=60,
    )

    assert "Say orchard" in said.output_text
    assert "Say ballad" in json.dumps(answer.json()["content"])


def test_a_model_can_be_forced_and_an_error_keeps_its_status(proxy: Proxy) -> None:
    from tests.fake_openai import Reply

    proxy.fake.clear()
    with proxy.client() as client:
        client.chat.completions.create(model="strongest", messages=ASKED)
        assert proxy.models() == ["large-1"]
        proxy.fake.script("large-1", Reply("slow down", status=429))
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="strongest", messages=ASKED)
    proxy.fake.clear()


@pytest.mark.filterwarnings("ignore")  # of LiteLLM's own types
def test_a_program_may_use_it_without_a_proxy(tmp_path: Path, fake_openai: FakeOpenAI) -> None:
    import litellm

    from rar.integrations.litellm import provider
    from rar.server import ServerConfig, Upstream

    models = {"weak": Upstream("small-1", fake_openai.url), "strong": Upstream("large-1", fake_openai.url)}
    options = {"memory": str(tmp_path / "rar.db"), "embedder": "hashing", "learning": "inline", "seed": 0}
    handler = provider(ServerConfig(models, options))
    litellm.custom_provider_map = [{"provider": "rar", "custom_handler": handler}]
    try:
        answer = litellm.completion(model="rar/default", messages=ASKED)
        pieces = list(litellm.completion(model="rar/default", messages=ASKED, stream=True))
    finally:
        litellm.custom_provider_map = []
        handler.router.close()

    assert answer.choices[0].message.content == "You said: What is the capital of France?"
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == answer.choices[0].message.content
