"""Calls that learning makes are no part of the user's traces."""

from __future__ import annotations

import sys

_KEYS = ("_SUPPRESS_INSTRUMENTATION_KEY", "_SUPPRESS_HTTP_INSTRUMENTATION_KEY")
_PLAIN_KEY = "suppress_instrumentation"  # what older instrumentations look at


def suppress_spans() -> None:
    """Have OpenTelemetry's instrumentations, OpenInference among them, make no spans in the rest of this context.

    Nothing where OpenTelemetry was not imported. Call it in a context of its own (`contextvars.Context().run`).
    """
    telemetry = sys.modules.get("opentelemetry.context")
    if telemetry is None:
        return
    context = telemetry.set_value(_PLAIN_KEY, True)
    for name in _KEYS:
        if (key := getattr(telemetry, name, None)) is not None:
            context = telemetry.set_value(key, True, context)
    telemetry.attach(context)
