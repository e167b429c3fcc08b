"""Routers on a hub: a small server speaks as much of the Hub's HTTP API as it takes to push and to fetch."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
import socket
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from huggingface_hub import ModelCard, constants
from typer.testing import CliRunner, Result

from rar.cli.commands import app
from rar.errors import HubError, RouterFileError
from rar.routers import (
    HybridRouter,
    KNNRouter,
    LearnedRouter,
    LengthRouter,
    Outcomes,
    TfidfRouter,
    from_hub,
    load,
    push_to_hub,
)
from rar.routers.hub import card, fetched

TOKEN = "hf_secretsecretsecretsecret"
TEXTS = tuple(f"{'a short sum' if n % 2 else 'a long riddle about an old castle'} {n}" for n in range(20))
DATA = Outcomes(TEXTS, np.array([[n % 2, 1.0] for n in range(20)]), ("small", "large"), name="riddles.csv")


@dataclass
class FakeHub:
    """Keeps one commit of each repository."""

    token: str | None = None  # that requests must have
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    url: str = ""

    def sha(self, repo: str) -> str:
        content = self.repos[repo]
        return hashlib.sha1(b"".join(name.encode() + content[name] for name in sorted(content))).hexdigest()

    # --- what a request does: status, headers, JSON or bytes ---

    def post(self, path: str, body: bytes) -> Any:
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            if repo in self.repos:
                return 409, {}, {"url": f"{self.url}/{repo}"}
            self.repos[repo] = {".gitattributes": b""}
            self.private[repo] = asked.get("visibility") == "private" or asked.get("private") is True
            return 200, {}, {"url": f"{self.url}/{repo}"}
        if path == "/api/validate-yaml":
            return 200, {}, {"errors": [], "warnings": []}
        repo, _, action = path.removeprefix("/api/models/").rpartition("/main")[0].rpartition("/")
        if repo not in self.repos:
            return 404, {"X-Error-Code": "RepoNotFound"}, {"error": "Repository not found"}
        if action == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return 200, {}, {"files": files}
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "header":
                self.messages.append(line["value"]["summary"])
            if line["key"] == "file":
                self.repos[repo][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        sha = self.sha(repo)
        return 200, {}, {"success": True, "commitOid": sha, "commitUrl": f"{self.url}/{repo}/commit/{sha}"}

    def get(self, path: str) -> Any:
        if path.startswith("/api/models/"):
            repo, kind, revision = self._split(path.removeprefix("/api/models/"))
        else:
            repo, kind, revision = self._split(path.removeprefix("/"))
        if repo not in self.repos:
            return 404, {"X-Error-Code": "RepoNotFound"}, {"error": "Repository not found"}
        sha = self.sha(repo)
        revision, _, name = revision.partition("/")
        if revision not in ("main", sha):
            return 404, {"X-Error-Code": "RevisionNotFound"}, {"error": "Invalid rev id"}
        files = self.repos[repo]
        if kind == "revision":
            siblings = [{"rfilename": name} for name in files]
            return (
                200,
                {},
                {"id": repo, "modelId": repo, "sha": sha, "private": self.private[repo], "siblings": siblings},
            )
        if kind == "tree":
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
            return 200, {}, entries
        if name not in self.fetched:
            self.fetched.append(name)
        return 200, {"X-Repo-Commit": sha, "ETag": f'"{hashlib.sha1(files[name]).hexdigest()}"'}, files[name]

    @staticmethod
    def _split(path: str) -> tuple[str, str, str]:
        user, name, kind, rest = (*path.split("/", 3), "", "")[:4]
        return f"{user}/{name}", kind, rest

    def handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, *, content: bool = True) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = unquote(urlsplit(self.path).path)
                if hub.token is not None and self.headers.get("Authorization") != f"Bearer {hub.token}":
                    status, headers, found = 401, {"X-Error-Message": "Invalid credentials"}, {"error": "Unauthorized"}
                else:
                    status, headers, found = hub.post(path, body) if self.command == "POST" else hub.get(path)
                data = found if isinstance(found, bytes) else json.dumps(found).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if content:
                    self.wfile.write(data)

            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.answer()

            def do_HEAD(self) -> None:
                self.answer(content=False)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    fake = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), fake.handler())
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", fake.url)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a hub that does not answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", url)
    return url


# --- there and back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "router", [TfidfRouter(penalty=2.0), LengthRouter(), KNNRouter(embedder="hashing")], ids=lambda router: router.name
)
def test_what_comes_back_scores_the_same(hub: FakeHub, router: LearnedRouter) -> None:
    address = push_to_hub(router.fit(DATA), "me/mine", token=TOKEN)

    back = from_hub("me/mine")

    assert address == f"{hub.url}/me/mine"
    assert type(back) is type(router)
    assert back.models == ("small", "large")
    np.testing.assert_allclose(back.score(TEXTS), router.score(TEXTS), atol=1e-6)


def test_a_class_loads_its_own_routers(hub: FakeHub) -> None:
    push_to_hub(TfidfRouter().fit(DATA), "me/mine")

    assert TfidfRouter.load(fetched("me/mine")).models == ("small", "large")
    with pytest.raises(RouterFileError, match="'tfidf' router, not a 'length' one"):
        LengthRouter.load(fetched("me/mine"))


def test_it_is_private_unless_one_says_otherwise(hub: FakeHub) -> None:
    router = LengthRouter().fit(DATA)

    push_to_hub(router, "me/mine")
    push_to_hub(router, "me/ours", private=False)

    assert hub.private == {"me/mine": True, "me/ours": False}


def test_a_second_push_replaces_the_first(hub: FakeHub) -> None:
    push_to_hub(LengthRouter().fit(DATA), "me/mine", commit_message="First")
    push_to_hub(TfidfRouter().fit(DATA), "me/mine", commit_message="Second")

    assert hub.messages == ["First", "Second"]
    assert isinstance(from_hub("me/mine"), TfidfRouter)


def test_only_files_of_a_router_are_fetched(hub: FakeHub) -> None:
    push_to_hub(TfidfRouter().fit(DATA), "me/mine")
    hub.repos["me/mine"] |= {"setup.py": b"raise SystemExit", "pytorch_model.bin": b"pickled", "deep/model.pkl": b""}

    from_hub("me/mine")

    assert sorted(hub.fetched) == ["router.json", "weights.npz"]


def test_a_revision_is_what_was_asked_for(hub: FakeHub) -> None:
    push_to_hub(TfidfRouter().fit(DATA), "me/mine")

    assert from_hub("me/mine", revision=hub.sha("me/mine")).models == ("small", "large")
    with pytest.raises(HubError, match="'me/mine' was not loaded: it has no such revision"):
        from_hub("me/mine", revision="v9")


def test_what_was_fetched_before_serves_while_the_hub_is_down(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    push_to_hub(TfidfRouter().fit(DATA), "me/mine")
    from_hub("me/mine")

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    assert from_hub("me/mine").models == ("small", "large")


# --- the card -------------------------------------------------------------------------------------------------------


def test_the_card_tells_what_it_is_and_how_to_load_it(hub: FakeHub) -> None:
    push_to_hub(TfidfRouter(penalty=2.0).fit(DATA), "me/mine", data="my | log", metrics={"APGR": 0.6789})

    found = ModelCard(hub.repos["me/mine"]["README.md"].decode())

    assert {"rar-llm", "llm-routing"} <= set(found.data.tags)
    assert "license" not in found.data.to_dict(), "that is the owner's to choose"
    for said in (
        "`TfidfRouter`",
        "penalty=2.0",
        "`small`, `large`",
        "my \\| log, 20 rows",
        "0.6789",
        'from_hub("me/mine")',
    ):
        assert said in found.text


def test_a_card_says_what_a_tie_counts() -> None:
    assert "a tie counts a half" in card(TfidfRouter().fit(DATA), "me/mine")
    assert "a tie counts for the latter" in card(HybridRouter(embedder="hashing").fit(DATA), "me/mine")


def test_a_card_without_metrics_says_so() -> None:
    text = card(TfidfRouter().fit(DATA), "me/mine")

    assert "riddles.csv, 20 rows" in text
    assert "No metric was given" in text


def test_a_card_tells_the_threshold(hub: FakeHub) -> None:
    router = TfidfRouter().fit(DATA)
    assert "Threshold |" not in card(router, "me/mine")
    assert "threshold" in card(router, "me/mine"), "how to choose one"
    router.calibrate(replace(DATA, name="newer.csv"), max_drop=0.1)

    push_to_hub(router, "me/mine")

    text = hub.repos["me/mine"]["README.md"].decode()
    share = f"{router.calibration.strong_share:.1%}" if router.calibration else ""
    assert f"| Threshold | {router.threshold:.6g}, for max_drop=0.1: {share} of 20 rows of newer.csv" in text
    assert from_hub("me/mine").threshold == router.threshold


# --- the command line -----------------------------------------------------------------------------------------------


def rar(*args: object) -> Result:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_what_is_pushed_is_pulled(hub: FakeHub, tmp_path: Path) -> None:
    router = TfidfRouter().fit(DATA)
    router.calibrate(DATA.texts, strong_share=0.5)
    router.save(tmp_path / "mine")

    pushed = rar("push", tmp_path / "mine", "me/mine", "--data", "June's log", "-m", "First")
    pulled = rar("pull", "me/mine", tmp_path / "there")

    assert (pushed.exit_code, pulled.exit_code) == (0, 0), pushed.stderr + pulled.stderr
    assert pushed.stdout == f"Pushed to {hub.url}/me/mine.\n"
    assert "A tfidf router of small, large is in" in pulled.stdout
    assert hub.private == {"me/mine": True}
    assert hub.messages == ["First"]
    assert "June's log, 20 rows" in hub.repos["me/mine"]["README.md"].decode()
    back = load(tmp_path / "there")
    assert back.threshold == router.threshold
    assert back.saw(DATA.texts) == 1.0
    assert sorted(file.name for file in (tmp_path / "there").iterdir()) == ["router.json", "weights.npz"]
    np.testing.assert_allclose(back.score(TEXTS), router.score(TEXTS), atol=1e-6)


def test_the_command_line_pushes_in_public_and_pulls_a_revision_as_json(hub: FakeHub, tmp_path: Path) -> None:
    LengthRouter().fit(DATA).save(tmp_path / "mine")

    facts = json.loads(rar("push", tmp_path / "mine", "me/mine", "--public", "--json").stdout)
    sha = hub.sha("me/mine")
    pulled = json.loads(rar("pull", "me/mine", tmp_path / "there", "--revision", sha, "--json").stdout)

    assert facts == {"repository": f"{hub.url}/me/mine"}
    assert hub.private == {"me/mine": False}
    assert (pulled["router"], pulled["models"], pulled["calibration"]) == ("length", ["small", "large"], None)


def test_a_router_of_an_own_embedder_is_pulled_without_loading_it(hub: FakeHub, tmp_path: Path) -> None:
    class Own:
        id, dim = "mine/1", 2

        def embed(self, texts: Any) -> Any:
            return np.array([[len(text), 1.0] for text in texts], np.float32)

    push_to_hub(KNNRouter(embedder=Own()).fit(DATA), "me/mine")

    assert rar("pull", "me/mine", tmp_path / "there").exit_code == 0
    assert load(tmp_path / "there", embedder=Own()).models == ("small", "large")


def test_pulling_replaces_an_older_router_and_spares_other_files(hub: FakeHub, tmp_path: Path) -> None:
    push_to_hub(TfidfRouter().fit(DATA), "me/mine")
    LengthRouter().fit(DATA).save(tmp_path / "there")
    (tmp_path / "there" / "notes.txt").write_text("mine", "utf-8")

    assert rar("pull", "me/mine", tmp_path / "there").exit_code == 0

    assert isinstance(load(tmp_path / "there"), TfidfRouter)
    assert (tmp_path / "there" / "notes.txt").read_text("utf-8") == "mine"


def one_line(result: Result, *said: str) -> None:
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert all(part in result.stderr for part in said), result.stderr
    assert TOKEN not in result.stderr


def test_trouble_with_the_hub_is_one_line(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = LengthRouter().fit(DATA).save(tmp_path / "mine")
    one_line(rar("pull", "me/none", tmp_path / "there"), "there is no such repository")
    one_line(rar("pull", "no name", tmp_path / "there"), "Write `user/name`")
    one_line(rar("push", tmp_path / "nowhere", "me/mine"), "router.json")
    one_line(rar("pull", "me/none", mine / "router.json"), "is a file")
    hub.token = "another"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    one_line(rar("push", mine, "me/mine"), "may not write", "hf auth login")
    assert not (tmp_path / "there").exists()


def test_a_hub_that_is_down_is_one_line(down: str, tmp_path: Path) -> None:
    mine = LengthRouter().fit(DATA).save(tmp_path / "mine")

    one_line(rar("push", mine, "me/mine"), down, "Check the connection")
    one_line(rar("pull", "me/mine", tmp_path / "there"), down, "Check the connection")


# --- trouble --------------------------------------------------------------------------------------------------------


def refused(error: pytest.ExceptionInfo[HubError], *said: str) -> None:
    text = str(error.value)
    assert all(part in text for part in ("me/mine", *said)), text
    assert TOKEN not in text + "".join(traceback.format_exception(error.value))
    assert str(pickle.loads(pickle.dumps(error.value))) == text


def test_a_hub_that_is_down_is_named(down: str) -> None:
    with pytest.raises(HubError) as error:
        push_to_hub(TfidfRouter().fit(DATA), "me/mine", token=TOKEN)
    refused(error, "not pushed", down, "Check the connection")

    with pytest.raises(HubError) as error:
        from_hub("me/mine", token=TOKEN)
    refused(error, "not loaded", down, "Check the connection")


def test_a_hub_that_refuses_says_how_to_log_in(hub: FakeHub) -> None:
    hub.token = "another"

    with pytest.raises(HubError) as error:
        push_to_hub(TfidfRouter().fit(DATA), "me/mine", token=TOKEN)
    refused(error, "may not write", "hf auth login", "token=")

    with pytest.raises(HubError) as error:
        from_hub("me/mine", token=TOKEN)
    refused(error, "may not read", "hf auth login", "token=")


def test_a_missing_repository_is_named(hub: FakeHub) -> None:
    with pytest.raises(HubError) as error:
        from_hub("me/mine")
    refused(error, "there is no such repository", "Check the name")


def test_a_repository_without_a_router_is_named(hub: FakeHub) -> None:
    hub.repos["me/mine"], hub.private["me/mine"] = {"README.md": b"# Nothing"}, False

    with pytest.raises(HubError) as error:
        from_hub("me/mine")
    refused(error, "there is no router.json in it")


def test_what_is_no_name_is_refused_without_the_token_in_it() -> None:
    with pytest.raises(HubError) as error:
        from_hub(f"https://me:{TOKEN}@hub/me/mine", token=TOKEN)
    refused(error, "Write `user/name`")


def test_a_token_of_the_environment_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    with pytest.raises(HubError) as error:
        from_hub(f"me/mine/{TOKEN}")
    refused(error, "***")
