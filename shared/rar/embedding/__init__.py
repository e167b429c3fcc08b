"""Embedders: texts to unit vectors."""

from rar.embedding.adapters import as_embedder
from rar.embedding.base import Embedder
from rar.embedding.cache import CachedEmbedder
from rar.embedding.hashing import HashingEmbedder
from rar.embedding.minilm import MiniLMEmbedder

__all__ = ["CachedEmbedder", "Embedder", "HashingEmbedder", "MiniLMEmbedder", "as_embedder"]
