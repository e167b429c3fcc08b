"""An HTTP server that speaks OpenAI's protocol, for clients of any language; needs the extra `[server]`.

    rar serve rar.toml

`create_app` makes the same server as an ASGI application, for those who run their own.
"""

from __future__ import annotations

from rar.server.app import create_app
from rar.server.config import Key, ServerConfig, Upstream, read_config

__all__ = ["Key", "ServerConfig", "Upstream", "create_app", "read_config"]
