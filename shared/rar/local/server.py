"""A local model behind a real OpenAI-compatible HTTP endpoint: llama.cpp's own server, run inside this process."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from rar.errors import ConfigurationError, MissingDependencyError, WeightsError
from rar.local.weights import GGUFS, LocalModel, local_model

_SILENT = -1


class LocalServer:
    """Serves one GGUF model on 127.0.0.1 from its construction until `close`; any number of them may run at once.

    Every response names `model_id` as its model, whatever the request asked for. One request is answered at a time, the
    others wait.

    Args:
        model: `"weak"`, `"strong"` or `"tiny"` (see `local_model`), or a GGUF file.
        port: 0 picks a free one.
        threads: All CPUs by default. Fewer are faster where other programs keep the CPUs busy.
        context: Tokens of prompt and answer together.

    Raises:
        MissingDependencyError: xllamacpp is not installed.
        WeightsError: The weights are missing, or no model that llama.cpp can load.
        ConfigurationError: The port is taken.
    """

    def __init__(
        self, model: str | os.PathLike[str], *, port: int = 0, threads: int | None = None, context: int = 4096
    ) -> None:
        try:
            import xllamacpp  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingDependencyError("xllamacpp", "demo") from error
        name = str(model)
        if name in GGUFS:
            path, self.model_id = local_model(cast("LocalModel", name)), GGUFS[name].id
        else:
            path, self.model_id = Path(model), Path(model).stem.lower()
        if not path.is_file():
            raise WeightsError(f"There is no model file {path}. Pass a GGUF file, or one of {sorted(GGUFS)}.")
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.model_alias = {self.model_id}
        params.port = port
        params.n_ctx = context
        params.n_parallel = 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads or os.cpu_count() or 1
        params.cache_ram_mib = 0  # its default keeps old prompts in gigabytes of memory
        params.ui = False
        params.verbosity = _SILENT
        try:
            self._server: Any = xllamacpp.Server(params)
        except RuntimeError as error:
            if _is_taken(port):
                raise ConfigurationError(f"Port {port} is taken. Pass another one, or 0 for a free one.") from error
            raise WeightsError(
                f"llama.cpp cannot load {path}. Pass a GGUF file of a model that it supports."
            ) from error
        # llama.cpp hangs if it is closed before its loop runs, and only an answer shows that it does.
        self._server.handle_completions({"prompt": "a", "n_predict": 1})
        self.url = f"{self._server.listening_address}/v1"

    def __repr__(self) -> str:
        return f"LocalServer({self.model_id!r}, url={self.url!r})"

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving and free the model's memory. May be called twice."""
        self._server = None


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return port != 0 and probe.connect_ex(("127.0.0.1", port)) == 0
