"""What the wrappers of both frameworks make of their arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from rar.drive import Model, Models
from rar.errors import ConfigurationError
from rar.models import check_pair
from rar.options import DEFAULTS, RouterOptions
from rar.router import Router
from rar.strategy import check_models
from rar.values import GUIDE_MODEL, STRONG, WEAK


def router_options(given: Mapping[str, Any], port: Callable[[Any], Model]) -> RouterOptions:
    """Those of a wrapper's arguments that are the router's.

    Args:
        port: Makes a framework's model one of the engine's.
    """
    options = {name: value for name, value in given.items() if name in DEFAULTS}
    if options.get(GUIDE_MODEL) is not None:
        options[GUIDE_MODEL] = port(options[GUIDE_MODEL])
    return cast("RouterOptions", options)


def router_of(models: Models, options: RouterOptions, shared: Router | None) -> Router:
    """The router that a wrapper of `models` asks: `shared`, or else a new one.

    Raises:
        ConfigurationError: `options` say anything else than by default beside a shared router, but its `namespace`,
            which a wrapper may have for itself; or the models are no pair.
    """
    if shared is None:
        check_pair(options.get("weak_id") or models[WEAK].id, options.get("strong_id") or models[STRONG].id)
        check_models(options.get("strategy"), models.keys())
        return Router(**options)
    beside = [name for name, value in options.items() if name != "namespace" and value is not DEFAULTS[name]]
    if beside:
        raise ConfigurationError(f"{beside} cannot be given beside `router=`. Give them to that Router.")
    shared.pair(models)
    return shared


def namespace_of(options: RouterOptions, router: Router) -> str:
    """A wrapper's own namespace, or else its router's."""
    namespace = options.get("namespace", router.namespace)
    return router.namespace if namespace == DEFAULTS["namespace"] else namespace
