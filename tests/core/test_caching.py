"""One folder for all that is cached, and what older versions left in another."""

from pathlib import Path

import pytest

from rar.caching import cache_folder, cached_file
from rar.embedding import HashingEmbedder
from rar.evaluation.embeddings import DiskCachedEmbedder
from rar.local.weights import local_model


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.delenv("RAR_CACHE", raising=False)
    assert cache_folder() == Path("/xdg/rar-llm")

    monkeypatch.setenv("RAR_CACHE", "/own")
    assert cache_folder() == Path("/own")

    monkeypatch.delenv("RAR_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert Path.home() in cache_folder().parents


def test_weights_and_embeddings_are_kept_in_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAR_CACHE", str(tmp_path))

    assert DiskCachedEmbedder(HashingEmbedder()).file.parent == tmp_path / "embeddings"
    monkeypatch.setattr("rar.local.weights.installed_file", lambda *_: None)
    monkeypatch.setattr("rar.local.weights.hub_file", _unreachable)
    with pytest.raises(OSError, match="No weights of") as caught:
        local_model("tiny")
    assert str(tmp_path) in str(caught.value)


def test_what_an_older_version_left_in_its_folder_is_still_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAR_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    old, new = tmp_path / "rar" / "embeddings" / "x.sqlite", tmp_path / "rar-llm" / "embeddings" / "x.sqlite"
    assert cached_file("embeddings/x.sqlite") == new

    old.parent.mkdir(parents=True)
    old.touch()
    assert cached_file("embeddings/x.sqlite") == old

    new.parent.mkdir(parents=True)
    new.touch()
    assert cached_file("embeddings/x.sqlite") == new


def _unreachable(*_: str) -> Path:
    from rar.errors import WeightsError

    raise WeightsError("There is no network.")
