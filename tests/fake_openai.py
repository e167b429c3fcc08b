"""A fake OpenAI-compatible server on the loopback interface, for tests and recipes that must run offline.

    with FakeOpenAI() as fake:
        ChatOpenAI(model="small", base_url=fake.url, api_key="none").invoke("Hello")
        fake.script("small", "first answer", Reply(status=500), lambda body: f"{len(body['messages'])} messages")
        fake.requests[0].body  # what was on the wire

Unscripted, a model answers by what it is asked alone, so that two models agree: it echoes the last message, calls the
tool whose name the user's text mentions (or that `tool_choice` demands), and fills a `response_format` schema.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import math
import re
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the server does with one request.

    Args:
        tool_calls: Pairs of tool name and arguments.
        status: Anything but 200 becomes an error response with `text` as its message.
        usage: Prompt and completion tokens; None: the endpoint reports none, whatever it is asked for.
        details: Of these, cached prompt tokens and reasoning tokens.
        cut_after: Break the connection after this many streamed deltas, or at once when not streaming.
        delay: Seconds to wait before answering.
        gate: Answer only when this is set. Closing the server opens it.
        model: Name to report instead of the one that was asked for.
    """

    text: str = ""
    tool_calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    status: int = 200
    usage: tuple[int, int] | None = (11, 7)
    details: tuple[int, int] | None = None
    cut_after: int | None = None
    delay: float = 0.0
    gate: threading.Event | None = None
    model: str | None = None
    finish: str | None = None


Script: TypeAlias = str | Reply | Callable[[Json], "str | Reply"]


@dataclass(frozen=True)
class Sent:
    """A request that the server received."""

    path: str
    model: str
    body: Json = field(repr=False)

    @property
    def messages(self) -> list[Json]:
        return self.body.get("messages", [])


class FakeOpenAI:
    """The server; a context manager. May be scripted and read from any thread."""

    def __init__(self) -> None:
        self.requests: list[Sent] = []
        self._scripts: dict[str, deque[Script]] = {}
        self._gates: list[threading.Event] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> FakeOpenAI:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for gate in self._gates:
            gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def script(self, model: str, *replies: Script) -> None:
        """Answer the next requests for `model` by these, in order; the last one answers all later ones too."""
        with self._lock:
            self._scripts[model] = deque(replies)
            self._gates += [r.gate for r in replies if isinstance(r, Reply) and r.gate is not None]

    def calls(self, model: str | None = None) -> list[Sent]:
        """The chat requests so far, of one model or of all."""
        return [s for s in self.requests if "completions" in s.path and model in {None, s.model}]

    def clear(self) -> None:
        """Forget what was sent and scripted."""
        with self._lock:
            self.requests.clear()
            self._scripts.clear()

    def _reply(self, body: Json) -> Reply:
        with self._lock:
            script = self._scripts.get(body.get("model", ""))
            scripted = None if not script else script.popleft() if len(script) > 1 else script[0]
        if scripted is None:
            return default_reply(body)
        if callable(scripted):
            scripted = scripted(body)
        return Reply(scripted) if isinstance(scripted, str) else scripted


def default_reply(body: Json) -> Reply:
    """The reply to an unscripted chat request."""
    if "prompt" in body:
        return Reply(f"You said: {body['prompt']}")
    messages = body["messages"]
    asked = text_of(next((m for m in reversed(messages) if m["role"] == "user"), {}))
    if tool := _wanted_tool(body, asked):
        return Reply(tool_calls=[(tool["name"], _instance(tool.get("parameters", {}), asked))])
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        return Reply(json.dumps(_instance(form["json_schema"]["schema"], asked), ensure_ascii=False))
    if form.get("type") == "json_object":
        keys = re.findall(r"['\"`](\w+)['\"`]", asked) or ["answer"]
        return Reply(json.dumps(dict.fromkeys(keys, asked), ensure_ascii=False))
    last = messages[-1]
    return Reply(f"{'The tool said' if last['role'] == 'tool' else 'You said'}: {text_of(last)}")


def text_of(message: Json) -> str:
    """The text of an OpenAI message, whose content is a string, a list of parts, or nothing."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _wanted_tool(body: Json, asked: str) -> Json | None:
    tools = [tool["function"] for tool in body.get("tools", ()) if tool.get("type") == "function"]
    choice = body.get("tool_choice", "auto")
    if not tools or choice == "none":
        return None
    if isinstance(choice, dict):
        return next(tool for tool in tools if tool["name"] == choice["function"]["name"])
    words = set(re.findall(r"\w+", asked.lower()))
    mentioned = [t for t in tools if t["name"] in words or words & {w for w in t["name"].split("_") if len(w) > 3}]
    if choice in {"any", "required"}:
        return (mentioned or tools)[0]
    in_tool_loop = body["messages"][-1]["role"] == "tool"
    # The longest name, since one tool's name may be part of another's.
    return None if in_tool_loop or not mentioned else max(mentioned, key=lambda t: (t["name"] in words, len(t["name"])))


def _instance(schema: Json, asked: str, root: Json | None = None) -> Any:
    """The least value that fits `schema`, with numbers and quoted words taken from what was asked."""
    root = schema if root is None else root
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _instance((root.get("$defs") or root["definitions"])[name], asked, root)
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return _instance(next(o for o in options if o.get("type") != "null"), asked, root)
    if "allOf" in schema:
        return _instance(schema["allOf"][0], asked, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return next((v for v in schema["enum"] if str(v) in asked), schema["enum"][0])
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        return {name: _instance(inner, asked, root) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [_instance(schema.get("items", {}), asked, root)]
    if kind in {"integer", "number"}:
        number = re.search(r"-?\d+", asked)
        return int(number[0]) if number else max(0, int(schema.get("minimum", 0)))
    if kind == "string":
        quoted = re.search(r"['\"“]([^'\"”]+)['\"”]", asked)
        return quoted[1] if quoted else asked
    return kind == "boolean" or None


def embedding_of(text: str, dim: int = 64) -> list[float]:
    """A unit vector in which texts that share words are near."""
    vector = [0.0] * dim
    for word in re.findall(r"\w+", text.lower()) or [""]:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        vector[digest[0] % dim] += 1.0 if digest[1] % 2 else -1.0
    norm = math.hypot(*vector)
    return [x / norm for x in vector] if norm else [1.0, *vector[1:]]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128  # read when the socket starts to listen; the default of 5 resets connections under load


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # chunked, so that a broken stream is told from a finished one

    @property
    def fake(self) -> FakeOpenAI:
        return self.server.fake  # type: ignore[attr-defined, no-any-return]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        names = sorted({sent.model for sent in self.fake.requests} | set(self.fake._scripts))
        self._json({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.removeprefix("/v1")
        self.fake.requests.append(Sent(path, body.get("model", ""), body))
        # A client that gave up is no trouble of the server's.
        with contextlib.suppress(ConnectionError):
            if path == "/embeddings":
                self._json(_embeddings(body))
            elif path in {"/chat/completions", "/completions"}:
                self._complete(body, chat=path.startswith("/chat"))
            else:
                self._json(_error(f"No such path: {self.path}"), 404)

    def _complete(self, body: Json, *, chat: bool) -> None:
        reply = self.fake._reply(body)
        if reply.gate is not None:
            reply.gate.wait()
        if reply.delay:
            self.fake._closing.wait(reply.delay)
        if reply.status != 200:
            self._json(_error(reply.text or "scripted error"), reply.status)
            return
        reply = _shortened(reply, body)
        frame = {
            "id": f"cmpl-{len(self.fake.requests)}",
            "created": 0,
            "model": reply.model or body["model"],
            "object": "chat.completion" if chat else "text_completion",
        }
        if body.get("stream"):
            if chat:
                frame["object"] = "chat.completion.chunk"
            self._stream(_deltas(reply, body, frame, chat=chat), reply.cut_after)
        elif reply.cut_after is not None:
            self.close_connection = True
        else:
            self._json({**frame, "choices": [_choice(reply, body, chat=chat)], **_usage(reply)})

    def _json(self, payload: Json, status: int = 200) -> None:
        data = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, chunks: Iterator[Json], cut_after: int | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        for count, chunk in enumerate(chunks):
            if cut_after is not None and count > cut_after:  # the first chunk carries the role alone
                return
            self._chunk(f"data: {json.dumps(chunk)}\n\n")
        self._chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def _shortened(reply: Reply, body: Json) -> Reply:
    text, finish = reply.text, reply.finish or ("tool_calls" if reply.tool_calls else "stop")
    stops = body.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.partition(stop)[0]
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    words = re.findall(r"\s*\S+\s*", text)
    if limit and len(words) > limit:
        text, finish = "".join(words[:limit]), "length"
    return replace(reply, text=text, finish=finish)


def _tool_calls(reply: Reply) -> list[Json]:
    return [
        {
            "index": index,
            "id": f"call_{index}_{name}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
        }
        for index, (name, arguments) in enumerate(reply.tool_calls)
    ]


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*?", text)


def _logprobs(words: Sequence[str], body: Json) -> Json | None:
    """One token a word, each half as likely as the one before."""
    if not body.get("logprobs"):
        return None
    weighed = [(word, -math.log(2) * place) for place, word in enumerate(words)]
    if "messages" not in body:
        return {"tokens": [token for token, _ in weighed], "token_logprobs": [logprob for _, logprob in weighed]}
    return {
        "content": [
            {"token": token, "logprob": logprob, "bytes": None, "top_logprobs": []} for token, logprob in weighed
        ]
    }


def _choice(reply: Reply, body: Json, *, chat: bool) -> Json:
    end = {"index": 0, "finish_reason": reply.finish, "logprobs": _logprobs(_words(reply.text), body)}
    if not chat:
        return {**end, "text": reply.text}
    message: Json = {"role": "assistant", "content": reply.text or None}
    if reply.tool_calls:
        message["tool_calls"] = _tool_calls(reply)
    return {**end, "message": message}


def _deltas(reply: Reply, body: Json, frame: Json, *, chat: bool) -> Iterator[Json]:
    def chunk(finish: str | None = None, **delta: Any) -> Json:
        inner = {"delta": delta} if chat else {"text": delta.get("content", "")}
        weighed = _logprobs([delta["content"]], body) if delta.get("content") else None
        return {**frame, "choices": [{"index": 0, "finish_reason": finish, "logprobs": weighed, **inner}]}

    yield chunk(role="assistant", content="")
    for word in _words(reply.text):
        yield chunk(content=word)
    for call in _tool_calls(reply):
        index, function = call["index"], call["function"]
        yield chunk(tool_calls=[{**call, "function": {"name": function["name"], "arguments": ""}}])
        half = len(function["arguments"]) // 2
        for part in (function["arguments"][:half], function["arguments"][half:]):
            yield chunk(tool_calls=[{"index": index, "function": {"arguments": part}}])
    yield chunk(finish=reply.finish)
    if reply.usage and (body.get("stream_options") or {}).get("include_usage"):
        yield {**frame, "choices": [], **_usage(reply)}


def _usage(reply: Reply) -> Json:
    if reply.usage is None:
        return {}
    read, written = reply.usage
    usage: Json = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    if reply.details is not None:
        cached, reasoning = reply.details
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return {"usage": usage}


def _error(message: str) -> Json:
    return {"error": {"message": message, "type": "fake_error", "param": None, "code": None}}


def _embeddings(body: Json) -> Json:
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    vectors = [embedding_of(str(text), body.get("dimensions") or 64) for text in texts]
    if body.get("encoding_format") == "base64":
        data: list[Any] = [base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode() for v in vectors]
    else:
        data = list(vectors)
    rows = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(data)]
    usage = {"prompt_tokens": 11, "total_tokens": 11}
    return {"object": "list", "model": body["model"], "data": rows, "usage": usage}
