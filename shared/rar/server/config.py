"""What `rar serve` is told in a TOML file, checked before anything is opened."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from rar.errors import ConfigurationError, UnknownArgumentError
from rar.loopback import is_loopback
from rar.naming import shown
from rar.options import POSITIVE, SHARE
from rar.values import STRONG, WEAK

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_OBJECTS = ("judge", "embedder", "static_router", "strategy", "redact", "clock", "observers", "policy", "guide_model")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Upstream:
    """A model behind an OpenAI-compatible endpoint.

    Args:
        model: As the endpoint calls it.
        base_url: Up to and with `/v1`.
        key_env: Name of the environment variable that holds the endpoint's key; empty where it needs none.
        price: USD per million input and output tokens; None: as known for the model's name.
        headers: Sent with each call.
    """

    model: str
    base_url: str = "https://api.openai.com/v1"
    key_env: str = ""
    price: tuple[float, float] | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ConfigurationError(f"model={shown(self.model)} is not the name of a model.")
        if urlsplit(str(self.base_url)).scheme not in ("http", "https"):
            raise ConfigurationError(f"base_url={shown(self.base_url)} is not an address of http or https.")
        if self.key_env and not os.environ.get(self.key_env):
            raise ConfigurationError(f"The environment has no {self.key_env}, which holds the key for {self.model!r}.")

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {os.environ[self.key_env]}"} if self.key_env else {}


@dataclass(frozen=True)
class Key:
    """What a client proves itself by, and the namespace that it works in.

    Args:
        env: Name of the environment variable that holds it.
    """

    env: str
    namespace: str = "default"

    def __post_init__(self) -> None:
        if not os.environ.get(self.env):
            raise ConfigurationError(f"The environment has no {self.env}, which holds a client's key.")


@dataclass(frozen=True)
class ServerConfig:
    """All that a server needs.

    Args:
        models: Upstreams by name; `"weak"` and `"strong"` are among them.
        router: Options of the router (`rar.options.RouterOptions`) that a file can hold.
        keys: Who may ask. None: everybody who reaches the server, which then listens on loopback only.
        floors: Shares of the strong model's quality that clients may choose, by asking for the model `rar-<floor>`.
            What is learned under one is not used under another.
        largest: Bytes of a request's body.
        patience: Seconds that a client may take to send a request's head, and its body.
        most: Requests that are served at a time. More are told to come back.
        grace: Seconds that open requests get when the server is stopped.
    """

    models: Mapping[str, Upstream]
    router: Mapping[str, Any] = field(default_factory=dict)
    keys: tuple[Key, ...] = ()
    floors: tuple[float, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    largest: int = 16 * 2**20
    patience: float = 20.0
    most: int = 2_000
    grace: float = 30.0

    def __post_init__(self) -> None:
        for role in (WEAK, STRONG):
            if role not in self.models:
                raise ConfigurationError(f"There is no [models.{role}]: the server needs a weak and a strong model.")
        objects = [name for name in _OBJECTS if not isinstance(self.router.get(name, ""), str)]
        if objects:
            raise ConfigurationError(
                f"{objects} are objects, which no file can hold. Make a `rar.Router`, and serve "
                "`rar.server.create_app(config, router)`."
            )
        for floor in self.floors:
            SHARE("floors", floor)
        for name in ("largest", "patience", "most", "grace"):
            POSITIVE(name, getattr(self, name))
        if not self.keys and not is_loopback(self.host):
            raise ConfigurationError(
                f"host={self.host!r} is reached from other machines, and there are no [[keys]]. Add some, or listen on "
                "127.0.0.1."
            )

    def namespaces(self) -> tuple[str, ...]:
        """Those that clients work in."""
        return tuple(dict.fromkeys(key.namespace for key in self.keys)) or (self.router.get("namespace", "default"),)


def read_config(path: str | Path) -> ServerConfig:
    """The configuration in a TOML file.

    Raises:
        ConfigurationError: It is no TOML, a name is not known, or a value cannot work.
        OSError: It cannot be read.
    """
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{shown(str(path))} is no TOML file: {error}") from None
    server = _table(found, "server")
    models = {name: _made(Upstream, given, f"[models.{name}]") for name, given in _table(found, "models").items()}
    keys = found.pop("keys", [])
    if not isinstance(keys, list):
        raise ConfigurationError("`keys` is no list. Write each key below a line [[keys]].")
    router = _table(found, "router")
    if found:
        raise UnknownArgumentError(shown(str(path)), next(iter(found)), ("server", "models", "router", "keys"))
    made = {"models": models, "router": router, "keys": tuple(_made(Key, key, "[[keys]]") for key in keys)}
    floors = server.pop("floors", [])
    if not isinstance(floors, list):
        raise ConfigurationError(f"floors={shown(floors)} is no list of shares, for example [0.9, 0.95].")
    return _made(ServerConfig, {**server, **made, "floors": tuple(floors)}, "[server]")


def _table(found: dict[str, Any], name: str) -> dict[str, Any]:
    table = found.pop(name, {})
    if not isinstance(table, dict):
        raise ConfigurationError(f"{name!r} is no table. Write its values below a line [{name}].")
    return table


def _made(kind: Callable[..., _T], given: Any, where: str) -> _T:
    if not isinstance(given, dict):
        raise ConfigurationError(f"{where} is no table.")
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise UnknownArgumentError(where, name, tuple(known))
    for name, one in known.items():
        if name not in given and one.default is MISSING and one.default_factory is MISSING:
            raise ConfigurationError(f"{where} says no {name!r}.")
    price = given.get("price")
    if price is not None:
        given = {**given, "price": _price(price, where)}
    return kind(**given)


def _price(price: Any, where: str) -> tuple[float, float]:
    if not (isinstance(price, list) and len(price) == 2 and all(isinstance(usd, (int, float)) for usd in price)):
        raise ConfigurationError(f"{where}: price={shown(price)} is not [USD per million input tokens, output tokens].")
    return (float(price[0]), float(price[1]))
