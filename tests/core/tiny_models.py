"""Networks of real classes, with random weights and few of them, in folders as transformers writes them."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from tests.contract.learned_router import SEEN

_WORDS = sorted({word.strip("?").lower() for text in SEEN.texts for word in text.split()})
_VOCABULARY = {word: at for at, word in enumerate(["<pad>", "<unk>", "[[", "1", "2", "3", "4", "5", "?", ":", *_WORDS])}


class Stop:
    """Interrupts a fit at a step of training, as a user does."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __call__(self, what: str, done: int, total: int) -> None:
        if what == "training" and done == self.at:
            raise KeyboardInterrupt


def tiny_encoder(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(_VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    return _saved(transformers.BertModel(config), folder)


def tiny_causal(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(_VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=0,
    )
    return _saved(transformers.LlamaForCausalLM(config), folder)


def _saved(network: transformers.PreTrainedModel, folder: Path) -> Path:
    tokenizer = Tokenizer(models.WordLevel(_VOCABULARY, "<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    network.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>"
    ).save_pretrained(folder)
    return folder
