"""How long a plan takes: `rar import` and `rar plan` on a log of ten thousand requests.

The log holds MMLU's questions in OpenAI's form. GPT-4's letter is the logged answer, Mixtral's is in a log of its own,
which stands for asking it. So all but the time of the weak model's own calls is measured, and each step is a command
in a process of its own, as a user would run it. With `--sample` as large as the log, every question is judged and
replayed; the default looks at 400 of them.

    RAR_DATA=… python benchmarks/plan.py [--rows 10000] [--samples 400 2000 10000]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _data import rows, versions


def entry(row: dict[str, str], model: str, letter: str, at: int) -> str:
    """A line of a log as OpenAI's batches write them, with the response beside the request."""
    options = "\n".join(f"{name}. {row[name]}" for name in "ABCD")
    asked = f"{row['question']}\n{options}\nAnswer with a letter."
    usage = {"prompt_tokens": len(asked) // 4, "completion_tokens": 1}
    choices = [{"message": {"role": "assistant", "content": letter}}]
    response = {"model": model, "created": at, "usage": usage, "choices": choices}
    return json.dumps(
        {"request": {"model": model, "messages": [{"role": "user", "content": asked}]}, "response": response}
    )


def letter(row: dict[str, str], right: bool) -> str:
    """The right letter, or the next one."""
    return row["answer"] if right else "ABCD"[("ABCD".index(row["answer"]) + 1) % 4]


def timed(folder: str, *command: str) -> tuple[str, str]:
    start, before = time.perf_counter(), os.times()
    whole = [sys.executable, "-m", "rar.cli", *command]
    environment = {**os.environ, "RAR_CACHE": f"{folder}/cache"}  # no embeddings of an earlier run
    done = subprocess.run(whole, check=True, capture_output=True, text=True, env=environment)  # noqa: S603 - our own
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return f"{time.perf_counter() - start:.1f} s, {used:.1f} s of a processor", done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--samples", type=int, nargs="+", default=[400, 2_000, 10_000])
    args = parser.parse_args()
    found = rows("mmlu_mixtral_gpt4.csv.gz")[: args.rows]
    print(f"{versions()}; {len(found):,} requests, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for model, column in (("gpt-4", "gpt4_1106_correct"), ("mixtral-8x7b", "mixtral_8x7b_correct")):
            log, files[model] = Path(folder) / f"{model}.log", str(Path(folder) / f"{model}.jsonl")
            lines = (entry(row, model, letter(row, row[column] == "1"), at) for at, row in enumerate(found))
            log.write_text("\n".join(lines), "utf-8")
            seconds, _ = timed(folder, "import", "openai-log", str(log), "--out", files[model])
            print(f"rar import of {model}'s log: {seconds}", flush=True)
        price = ("--price", "gpt-4=10/30", "--price", "mixtral-8x7b=0.5/0.5")
        for sample in args.samples:
            seconds, said = timed(
                folder, "plan", files["gpt-4"], "--weak-log", files["mixtral-8x7b"], "--sample", str(sample), *price
            )
            print(f"\nrar plan --sample {sample}: {seconds}\n{said}", flush=True)


if __name__ == "__main__":
    main()
