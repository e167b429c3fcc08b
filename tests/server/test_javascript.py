"""The official JavaScript SDK against a real server."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server.conftest import Served

CLIENT = Path(__file__).with_name("client.mjs")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the SDK in it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js is not installed")
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent", "openai@>=6"]
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the SDK took too long to install")
    if done.returncode:
        pytest.skip(f"the SDK cannot be installed: {done.stderr[-200:]}")
    return tmp_path


@pytest.mark.slow
def test_the_javascript_sdk_is_served(served: Served, folder: Path) -> None:
    client = folder / CLIENT.name
    client.write_text(CLIENT.read_text(encoding="utf-8"), encoding="utf-8")
    command = ["node", client.name, f"{served.url}/v1"]

    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )

    assert done.returncode == 0, done.stderr
    assert "all is well" in done.stdout
