"""A process that LangSmith watches, since its client keeps to one server for as long as the process lives.

Serves and learns in every mode, in the kind of learning that its argument names, and prints the runs that were posted.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar


class _LangSmith(BaseHTTPRequestHandler):
    bodies: ClassVar[list[Any]] = []

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        limits = {"size_limit": 100, "size_limit_bytes": 2**24, "scale_up_nthreads_limit": 1}
        scale = {"scale_up_qsize_trigger": 1000, "scale_down_nempty_trigger": 4}
        self._reply({"batch_ingest_config": {"use_multipart_endpoint": False, **limits, **scale}})

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        data = gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data
        self.bodies.append(json.loads(data))
        self._reply({})

    do_PATCH = do_POST  # noqa: N815 - the standard library calls it so

    def _reply(self, payload: Any) -> None:
        data = json.dumps(payload).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _runs() -> list[dict[str, Any]]:
    runs: dict[str, Any] = {}
    for body in _LangSmith.bodies:
        for run in [*body.get("post", ()), *body.get("patch", ())] or [body]:
            runs.setdefault(run["id"], {}).update({k: v for k, v in run.items() if v is not None})
    return list(runs.values())


async def _serve(learning: Any) -> set[str]:
    from langchain_openai import ChatOpenAI

    from tests.fake_openai import FakeOpenAI
    from tests.langchain.test_unseen import MODES, learner, served_and_learned

    asked = set()
    for mode in MODES:
        with FakeOpenAI() as fake:
            small, large = (
                ChatOpenAI(model=name, base_url=fake.url, api_key="none", stream_usage=True, max_retries=0)  # type: ignore[arg-type]
                for name in ("small", "large")
            )
            await served_and_learned(mode, learner(small, large, learning), fake)
            asked |= {sent.model for sent in fake.calls()}
    return asked


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _LangSmith)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    for name, value in (("TRACING", "true"), ("ENDPOINT", address), ("API_KEY", "none"), ("PROJECT", "p")):
        os.environ[f"LANGSMITH_{name}"] = value
    asked = asyncio.run(_serve(sys.argv[1]))

    from langchain_core.tracers.langchain import wait_for_all_tracers

    wait_for_all_tracers()
    models = [(run.get("extra") or {}).get("metadata", {}).get("ls_model_name") for run in _runs()]
    roots = [run["name"] for run in _runs() if not run.get("parent_run_id")]
    print(json.dumps({"asked": sorted(asked), "models": [name for name in models if name], "roots": roots}))


if __name__ == "__main__":
    main()
