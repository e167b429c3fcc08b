"""Embedding beside raw ONNX Runtime: the same network, threads and tokens in one process, taking turns.

Run `python benchmarks/embedding.py [--threads N] [--rounds N]`. The target is a ratio of at most 1.15.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from rar.embedding import HashingEmbedder, MiniLMEmbedder
from rar.embedding.minilm import _find

WORDS = (
    "how",
    "does",
    "the",
    "capital",
    "of",
    "a",
    "large",
    "country",
    "decide",
    "which",
    "river",
    "students",
    "learn",
)


def milliseconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()

    ours = MiniLMEmbedder(threads=options.threads)
    ours.embed(["warm"])  # also turns telemetry off before the import below
    import onnxruntime  # noqa: PLC0415
    from tokenizers import Tokenizer  # noqa: PLC0415

    model, tokenizer_file = _find(None)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = ours.threads, 1
    raw = onnxruntime.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(ours.max_tokens)

    print(f"{ours.id}, {ours.threads} threads, medians of {options.rounds} rounds")
    print(f"{'words':>6} {'raw ms':>8} {'ours ms':>8} {'ratio':>6} {'hashing ms':>11}")
    hashing = HashingEmbedder()
    for length in (10, 100, 250):
        text = " ".join(np.random.default_rng(length).choice(WORDS, length))
        ids = np.array([tokenizer.encode(text).ids])
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        runs = partial(raw.run, None, feed), partial(ours.embed, [text]), partial(hashing.embed, [text])
        turns = [[milliseconds(run) for run in runs] for _ in range(options.rounds)]
        bare, embedded, hashed = (statistics.median(column) for column in zip(*turns, strict=True))
        print(f"{length:>6} {bare:>8.2f} {embedded:>8.2f} {embedded / bare:>6.2f} {hashed:>11.3f}")


if __name__ == "__main__":
    main()
