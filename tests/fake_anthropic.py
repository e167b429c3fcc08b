"""A fake Anthropic server, which takes only those thinking blocks back that the same model signed.

    with FakeAnthropic() as fake:
        ChatAnthropic(model="small", base_url=fake.url, api_key="none", thinking={...}).invoke("Hello")
        fake.requests[0]  # the body that was on the wire

It thinks, and then echoes the last message. Where the user's text names a tool it calls that instead, once.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


class FakeAnthropic:
    """The server; a context manager. May be read from any thread."""

    def __init__(self) -> None:
        self.requests: list[Json] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.requests = self.requests  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> FakeAnthropic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)  # type: ignore[attr-defined]
        trouble = _unsigned(body)
        if trouble is not None:
            error = {"type": "invalid_request_error", "message": f"{trouble}: Invalid `signature` in `thinking` block"}
            self._json({"type": "error", "error": error}, 400)
            return
        self._json(_message(body))

    def _json(self, payload: Json, status: int = 200) -> None:
        data = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def blocks_of(message: Json) -> list[Json]:
    """A message's content as blocks."""
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _unsigned(body: Json) -> str | None:
    """The place of the first block that another model signed."""
    for at, message in enumerate(body["messages"]):
        for place, block in enumerate(blocks_of(message)):
            if block["type"] == "thinking" and block.get("signature") != f"signed by {body['model']}":
                return f"messages.{at}.content.{place}"
    return None


def _message(body: Json) -> Json:
    last = blocks_of(body["messages"][-1])[-1]
    text = str(last.get("text") or last.get("content") or "")
    tool = next((tool for tool in body.get("tools", ()) if tool["name"] in text and last["type"] == "text"), None)
    answer: Json = {"type": "text", "text": f"You said: {text}"}
    if tool is not None:
        answer = {"type": "tool_use", "id": f"toolu_{len(body['messages'])}", "name": tool["name"], "input": {}}
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": f"signed by {body['model']}"}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [*([thinking] if body.get("thinking") else []), answer],
        "stop_reason": "end_turn" if tool is None else "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 5},
    }
