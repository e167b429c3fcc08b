"""Chat completions through a real server, with the official SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from rar.server import Key
from tests.fake_openai import FakeOpenAI, Reply
from tests.server.conftest import Served

ASKED = [{"role": "user", "content": "What is the capital of France?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def ask(served: Served, messages: Any = ASKED, model: str = "rar", **given: Any) -> Any:
    with served.client() as client:
        return client.chat.completions.create(model=model, messages=messages, **given)


def streamed(served: Served, messages: Any = ASKED, model: str = "rar", **given: Any) -> list[Any]:
    with served.client() as client:
        return list(client.chat.completions.create(model=model, messages=messages, stream=True, **given))


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_what_was_learned_is_served_by_the_weak_model(served: Served, fake_openai: FakeOpenAI) -> None:
    first, second = ask(served), ask(served)

    assert (first.rar["model"], second.rar["model"]) == ("strong", "weak")
    assert first.choices[0].message.content == second.choices[0].message.content
    assert second.rar["reason"] == "memory_weak"
    assert [sent.model for sent in fake_openai.calls()] == ["large-1", "small-1", "small-1"]
    assert second.rar["usd"] < second.rar["strong_usd"]


def test_streams_learn_as_whole_answers_do(served: Served, fake_openai: FakeOpenAI) -> None:
    first, second = streamed(served), streamed(served)

    assert (first[0].rar["model"], second[0].rar["model"]) == ("strong", "weak")
    assert text_of(first) == text_of(second) == "You said: What is the capital of France?"
    assert all(chunk.usage is None for chunk in first)
    assert fake_openai.calls("large-1")[0].body["stream_options"] == {"include_usage": True}


def test_usage_is_streamed_to_whom_asked_for_it(served: Served) -> None:
    chunks = streamed(served, stream_options={"include_usage": True})

    assert chunks[-1].usage.prompt_tokens == 11


async def test_async_clients_are_served(served: Served) -> None:
    async with served.aclient() as client:
        whole = await client.chat.completions.create(model="rar", messages=ASKED)  # type: ignore[arg-type]
        stream = await client.chat.completions.create(model="rar", messages=ASKED, stream=True)  # type: ignore[call-overload]
        chunks = [chunk async for chunk in stream]

    assert whole.choices[0].message.content == text_of(chunks)


def test_what_the_client_sends_arrives_as_it_is(served: Served, fake_openai: FakeOpenAI) -> None:
    given = {"temperature": 0.2, "max_completion_tokens": 50, "seed": 7, "user": "ann", "metadata": {"a": "b"}}
    ask(served, **given, extra_body={"rar": {"learn": False}, "vendor": {"x": 1}})

    assert fake_openai.calls()[0].body == {**given, "vendor": {"x": 1}, "model": "large-1", "messages": ASKED}


def test_a_tool_loop_keeps_its_model(served: Served, fake_openai: FakeOpenAI) -> None:
    asked = [{"role": "user", "content": "Use weather to look at Paris"}]
    for _ in range(2):
        answer = ask(served, asked, tools=TOOLS)
    (call,) = answer.choices[0].message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}

    last = ask(served, [*asked, answer.choices[0].message.to_dict(), result], tools=TOOLS)

    assert (answer.rar["model"], last.rar["model"], last.rar["reason"]) == ("weak", "weak", "sticky")
    assert last.choices[0].message.content == "The tool said: sunny"
    fake_openai.clear()
    streamed(served, [*asked, answer.choices[0].message.to_dict(), result], tools=TOOLS)
    assert [sent.model for sent in fake_openai.calls()] == ["small-1"]


def test_a_streamed_tool_call_is_learned_of(served: Served) -> None:
    asked = [{"role": "user", "content": "Use weather to look at Paris"}]
    models = [streamed(served, asked, tools=TOOLS)[0].rar["model"] for _ in range(2)]

    assert models == ["strong", "weak"]


def test_a_schema_is_a_task_of_its_own(served: Served) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    ask(served)

    answers = [ask(served, response_format=form) for _ in range(2)]

    assert [answer.rar["model"] for answer in answers] == ["strong", "weak"]
    assert json.loads(answers[1].choices[0].message.content) == {"city": ASKED[0]["content"]}


@pytest.mark.parametrize(("name", "sent"), [("weak", "small-1"), ("strong", "large-1"), ("small-1", "small-1")])
def test_a_model_can_be_forced(served: Served, fake_openai: FakeOpenAI, name: str, sent: str) -> None:
    assert ask(served, model=name).rar["reason"] == "forced"
    assert fake_openai.calls()[0].model == sent


def test_floors_are_models(serve: Callable[..., Served]) -> None:
    served = serve(floors=(0.8, 0.99))
    with served.client() as client:
        names = [model.id for model in client.models.list()]
        assert client.models.retrieve("rar-0.99").id == "rar-0.99"

    answers = [ask(served, model=name) for name in ("rar", "rar-0.8", "rar-0.99")]

    assert names == ["rar", "rar-0.8", "rar-0.99", "weak", "strong"]
    decisions = [served.router._recent.get(answer.rar["decision_id"]) for answer in answers]
    assert [decision.floor for decision in decisions] == [0.9, 0.8, 0.99]


def test_each_key_has_its_namespace(serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_A", "sk-a")
    monkeypatch.setenv("KEY_B", "sk-b")
    served = serve(keys=(Key("KEY_A", "a"), Key("KEY_B", "b")))
    asked: Any = {"model": "rar", "messages": ASKED}
    with served.client("sk-a") as a, served.client("sk-b") as b, served.client("sk-c") as nobody:
        learned = [a.chat.completions.create(**asked).rar["model"] for _ in range(2)]  # type: ignore[attr-defined]
        other = b.chat.completions.create(**asked)
        with pytest.raises(openai.AuthenticationError):
            nobody.chat.completions.create(**asked)
        with pytest.raises(openai.BadRequestError, match="namespace"):
            b.chat.completions.create(**asked, extra_body={"rar": {"namespace": "a"}})

        assert learned == ["strong", "weak"]
        assert other.rar["model"] == "strong"  # type: ignore[attr-defined]
        # Nor can one client judge another's answers.
        told = {"decision_id": other.rar["decision_id"], "good": False}  # type: ignore[attr-defined]
        headers = {"Authorization": "Bearer sk-a"}
        assert httpx.post(f"{served.url}/v1/feedback", json=told, headers=headers).status_code == 404


def test_feedback_demotes(served: Served) -> None:
    ask(served)
    answer = ask(served)

    told = httpx.post(f"{served.url}/v1/feedback", json={"decision_id": answer.rar["decision_id"], "good": False})

    assert told.status_code == 200
    assert ask(served).rar["model"] == "strong"


def test_metrics_are_scraped(serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("prometheus_client")
    monkeypatch.setenv("KEY_A", "sk-a")
    served = serve(keys=(Key("KEY_A"),))
    with served.client("sk-a") as client:
        client.chat.completions.create(model="rar", messages=ASKED)  # type: ignore[arg-type]

    shown = httpx.get(f"{served.url}/metrics", headers={"Authorization": "Bearer sk-a"})

    assert shown.headers["content-type"].startswith("text/plain")
    assert "rar_decisions_total{" in shown.text
    assert httpx.get(f"{served.url}/metrics").status_code == 401


# ── what goes wrong ──


def test_the_strong_model_takes_over(served: Served, fake_openai: FakeOpenAI) -> None:
    ask(served)
    fake_openai.script("small-1", Reply("overloaded", status=500))

    assert ask(served).rar["model"] == "strong"
    assert text_of(streamed(served)).startswith("You said")


@pytest.mark.parametrize("stream", [False, True])
def test_the_endpoints_own_error_reaches_the_client(served: Served, fake_openai: FakeOpenAI, stream: bool) -> None:
    fake_openai.script("large-1", Reply("slow down", status=429))

    with pytest.raises(openai.RateLimitError, match="slow down"):
        (streamed if stream else ask)(served)


def test_an_endpoint_that_is_not_there_is_an_error_of_its_own(serve: Callable[..., Served], config: Any) -> None:
    models = {role: replace(up, base_url="http://127.0.0.1:9/v1") for role, up in config.models.items()}

    with pytest.raises(openai.InternalServerError, match="not reached"):
        ask(serve(models=models))


def test_a_stream_that_breaks_says_so_and_teaches_nothing(served: Served, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("large-1", Reply("one two three four", cut_after=2))

    with pytest.raises(openai.APIError):
        streamed(served)

    assert fake_openai.calls("small-1") == []
    fake_openai.clear()
    assert ask(served).rar["model"] == "strong"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "no JSON"),
        (b"[]", "no JSON object"),
        (b'{"model": "rar"}', "messages"),
        (b'{"model": "rar", "messages": [{"role": "user", "content": 5}]}', "content"),
        (b'{"model": "rar", "messages": [{"role": "user"}], "stream": 1}', "stream"),
        (b'{"model": "rar", "messages": [{"role": "user"}], "tools": {}}', "tools"),
        (b'{"model": "rar", "messages": [{"role": "user"}], "rar": []}', "rar"),
        (b'{"model": "rar", "messages": [{"role": "user"}], "rar": {"lern": true}}', "learn"),
        (b'{"model": "other", "messages": [{"role": "user"}]}', "rar"),
        (b"[" * 100_000, "JSON"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "JSON|nested"),
        (b"\xff\xfe", "no JSON"),
    ],
)
def test_malformed_bodies_are_answered(served: Served, body: bytes, said: str) -> None:
    answer = httpx.post(f"{served.url}/v1/chat/completions", content=body)

    assert answer.status_code in {400, 404}
    assert httpx.codes.is_client_error(answer.status_code)
    assert any(part in answer.json()["error"]["message"] for part in said.split("|"))
    assert ask(served).choices


def test_a_large_body_is_refused(serve: Callable[..., Served]) -> None:
    served = serve(largest=1_000)
    body = json.dumps({"model": "rar", "messages": [{"role": "user", "content": "x" * 2_000}]}).encode()

    assert httpx.post(f"{served.url}/v1/chat/completions", content=body).status_code == 413
    assert httpx.post(f"{served.url}/v1/chat/completions", content=iter([body])).status_code == 413


async def test_a_slow_head_and_a_slow_body_are_given_up(serve: Callable[..., Served]) -> None:
    port = int(serve(patience=0.3).url.rpartition(":")[2])
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"

    async def sent(what: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(what)
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        return answer

    slow_head, slow_body = await asyncio.gather(sent(head), sent(head + b'Content-Length: 50\r\n\r\n{"model'))

    assert slow_head == b""
    assert slow_body.startswith(b"HTTP/1.1 408")


def test_a_full_server_says_so(serve: Callable[..., Served], fake_openai: FakeOpenAI) -> None:
    import threading

    served, gate = serve(most=1), threading.Event()
    fake_openai.script("large-1", Reply("late", gate=gate))
    first = threading.Thread(target=ask, args=(served,))
    first.start()
    while not fake_openai.calls():
        pass
    try:
        with pytest.raises(openai.InternalServerError, match="busy"):
            ask(served)
    finally:
        gate.set()
        first.join()
    assert ask(served).choices
    assert httpx.get(f"{served.url}/healthz").json() == {"status": "ok", "serving": 0}


async def test_a_client_that_leaves_frees_its_place(served: Served, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("large-1", Reply("never", delay=30.0))
    async with httpx.AsyncClient() as client:
        for stream in (False, True):
            with pytest.raises(httpx.ReadTimeout):
                await client.post(
                    f"{served.url}/v1/chat/completions",
                    json={"model": "rar", "messages": ASKED, "stream": stream},
                    timeout=httpx.Timeout(5, read=0.3),
                )
        for _ in range(200):
            if (await client.get(f"{served.url}/healthz")).json()["serving"] == 0:
                return
            await asyncio.sleep(0.05)
    raise AssertionError("its place was not given back")


async def test_many_streams_at_once_keep_their_own_text(served: Served) -> None:
    async with served.aclient() as client:

        async def one(n: int) -> str:
            asked: Any = [{"role": "user", "content": f"question {n}" * 20}]
            stream = await client.chat.completions.create(model="rar", messages=asked, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

        texts = await asyncio.gather(*(one(n) for n in range(60)))

    assert texts == [f"You said: {f'question {n}' * 20}" for n in range(60)]


def test_unknown_paths_are_told_in_the_same_form(served: Served) -> None:
    assert httpx.get(f"{served.url}/v1/nothing").json()["error"]["code"] == "unknown_path"
    assert httpx.get(f"{served.url}/v1/chat/completions").status_code == 405
    assert httpx.get(f"{served.url}/v1/models/nothing").json()["error"]["code"] == "model_not_found"
