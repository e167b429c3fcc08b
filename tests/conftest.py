"""Fixtures that every part of the suite shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fake_openai import FakeOpenAI


@pytest.fixture
def fake_openai() -> Iterator[FakeOpenAI]:
    """A running fake OpenAI server of this test alone."""
    with FakeOpenAI() as fake:
        yield fake
