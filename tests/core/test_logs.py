"""Other tools' logs as recorded requests, and what floors would have saved on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rar.cli.commands import app
from rar.errors import EvaluationDataError, ImportFormatError, UnknownNameError
from rar.logs import Recorded, load, mask, read_log
from rar.logs.planning import asked_of, logged, plan, sampled
from rar.logs.recorded import store
from rar.prices import Prices
from rar.values import Reply
from tests.fake_openai import FakeOpenAI

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is the capital of France?"}]
SAID = {"role": "assistant", "content": "Paris."}

LANGFUSE = {
    "type": "GENERATION", "model": "gpt-large", "input": ASKED, "output": SAID, "startTime": "2025-11-01T10:00:00Z",
    "usageDetails": {"input": 20, "output": 3}, "calculatedTotalCost": 0.0004, "userId": "ann@example.com",
}  # fmt: skip
LITELLM = {
    "model": "gpt-large", "messages": ASKED, "response": {"choices": [{"message": SAID}]}, "startTime": 1_761_991_200.0,
    "prompt_tokens": 20, "completion_tokens": 3, "response_cost": 0.0004, "end_user": "ann@example.com",
}  # fmt: skip
OPENAI = {
    "custom_id": "1", "body": {"model": "gpt-large", "messages": ASKED, "user": "ann@example.com"},
    "response": {"body": {"created": 1_761_991_200, "choices": [{"message": SAID}],
                          "usage": {"prompt_tokens": 20, "completion_tokens": 3}}},
}  # fmt: skip


def attributes(**facts: Any) -> list[dict[str, Any]]:
    def value(one: Any) -> dict[str, Any]:
        return {"intValue": str(one)} if isinstance(one, int) else {"stringValue": one}

    return [{"key": name, "value": value(one)} for name, one in facts.items()]


def spans(*found: Any) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(found)}]}]}


def parts(message: dict[str, str]) -> dict[str, Any]:
    return {"role": message["role"], "parts": [{"type": "text", "content": message["content"]}]}


GENAI = spans(
    {"startTimeUnixNano": "1761991200000000000", "traceId": "t", "attributes": attributes(**{
        "gen_ai.request.model": "gpt-large", "gen_ai.input.messages": json.dumps([parts(one) for one in ASKED]),
        "gen_ai.output.messages": json.dumps([parts(SAID)]), "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 3,
    })},
    {"attributes": attributes(name="a span of something else")},
)  # fmt: skip
OPENINFERENCE = spans(
    {"startTimeUnixNano": 1761991200000000000, "attributes": attributes(**{
        "llm.model_name": "gpt-large", "llm.token_count.prompt": 20, "llm.token_count.completion": 3, "session.id": "s",
        **{f"llm.input_messages.{at}.message.{name}": one[name] for at, one in enumerate(ASKED) for name in one},
        "llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": "Paris.",
    })},
)  # fmt: skip


def written(file: Path, *records: Any) -> Path:
    file.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("form", "record"),
    [
        ("langfuse", LANGFUSE), ("langfuse", {"data": [LANGFUSE]}), ("litellm", LITELLM), ("openai-log", OPENAI),
        ("otel", GENAI), ("otel", OPENINFERENCE),
    ],
)  # fmt: skip
def test_each_tool_says_the_same_of_a_call(tmp_path: Path, form: str, record: Any) -> None:
    (found,) = read_log(form, written(tmp_path / "log", record))

    assert [dict(one) for one in found.messages] == ASKED
    assert (found.text, found.answer, found.model) == ("What is the capital of France?", "Paris.", "gpt-large")
    assert (found.input_tokens, found.output_tokens) == (20, 3)
    assert found.at == pytest.approx(1_761_991_200.0, abs=86_400 * 2)


def test_what_is_no_call_of_a_model_is_passed_over(tmp_path: Path) -> None:
    others = [{"type": "SPAN", "input": "x"}, {"type": "GENERATION", "input": None}, [], 5, {"type": "GENERATION"}]

    assert list(read_log("langfuse", written(tmp_path / "log", *others))) == []
    with pytest.raises(UnknownNameError):
        list(read_log("langfus", tmp_path / "log"))
    (tmp_path / "bad").write_text('{"a": 1}\nno json\n', encoding="utf-8")
    with pytest.raises(ImportFormatError, match="line 2"):
        list(read_log("langfuse", tmp_path / "bad"))


def test_who_asked_and_what_is_private_is_not_kept(tmp_path: Path) -> None:
    secret = (
        "Write to ann@example.com or +44 20 7946 0958, key sk-proj-abcdefghijklmnop, IBAN DE89 3704 0044 0532 0130 00"
    )
    record = {
        **LANGFUSE,
        "input": [{"role": "user", "content": secret}],
        "output": f"I wrote to ann@example.com. {secret}",
    }
    file = tmp_path / "requests.jsonl"

    assert store(file, read_log("langfuse", written(tmp_path / "log", record, record))) == 2
    kept = file.read_text(encoding="utf-8")
    first, second = load(file)

    assert not any(private in kept for private in ("ann@", "7946", "sk-proj", "3704"))
    assert first.text == "Write to <email> or <number>, key <key>, IBAN <account>"
    assert first.who == second.who != ""
    assert file.stat().st_mode & 0o077 == 0
    assert mask("12 apples cost 3.50 on 2026-11-28") == "12 apples cost 3.50 on 2026-11-28"
    with pytest.raises(FileExistsError):
        store(file, [])
    written(tmp_path / "other", {"a": 1})
    with pytest.raises(ImportFormatError, match="line 1"):
        list(load(tmp_path / "other"))


# ── planning ──


def request(n: int, answer: str | None = None, **fields: Any) -> Recorded:
    text = f"What is {n} plus {n}?" if n % 2 else f"Who wrote ballad number {n}?"
    said = str(2 * n) if n % 2 else f"Poet {n}"
    return Recorded(({"role": "user", "content": text},), text, said if answer is None else answer, "large",
                    input_tokens=20, output_tokens=5, **fields)  # fmt: skip


LOG = [request(n % 80) for n in range(120)]
PRICES = Prices({"small": (0.1, 0.4), "large": (2.0, 8.0)})


def small(n: int) -> Recorded:
    """The weak model can add, and knows no poets."""
    return request(n, None if n % 2 else "Nobody knows.")


def test_a_plan_says_what_would_have_been_saved() -> None:
    others = [small(n) for n in range(80)]
    made = plan(
        LOG, lambda rows: logged(rows, others), weak="small", prices=PRICES, floors=(0.5, 0.95), shuffles=1,
        embedder="hashing",
    )  # fmt: skip

    assert (made.requests, made.usable, made.asked, made.strong) == (120, 120, 80, "large")
    assert made.repeated == pytest.approx(1 / 3)
    assert made.good_enough == pytest.approx(0.5)
    loose, strict = made.floors
    assert loose.saved.low <= loose.saved.value <= loose.saved.high
    assert loose.saved.value >= strict.saved.value
    assert strict.quality.value >= 0.9
    assert json.loads(json.dumps(made.as_dict()))["floors"][0]["floor"] == 0.5


def test_the_sample_is_of_different_questions_with_answers() -> None:
    rows = [*LOG, request(200, ""), request(201, tools=True)]

    usable, asked = sampled(rows, 30, seed=1)

    assert len(usable) == 120
    assert len({one.text for one in asked}) == len(asked) == 30
    assert asked == sampled(rows, 30, seed=1)[1] != sampled(rows, 30, seed=2)[1]


def test_too_few_judged_answers_are_no_plan() -> None:
    with pytest.raises(EvaluationDataError, match="30 are needed"):
        plan(LOG[:20], lambda rows: [None] * len(rows), weak="small", prices=PRICES, embedder="hashing")


def test_a_model_that_fails_now_and_then_spoils_nothing() -> None:
    class Sometimes:
        id = "small"

        def call(self, call: Any) -> Reply:
            if "plus" in call.request.key:
                return Reply("weak", "1")
            raise TimeoutError

        async def acall(self, call: Any) -> Reply:
            return self.call(call)

    found = asked_of(Sometimes(), LOG[:4])

    assert [reply is None for reply in found] == [True, False, True, False]


def test_the_commands_go_from_a_log_to_a_plan(tmp_path: Path, fake_openai: FakeOpenAI) -> None:
    run = CliRunner()
    records = [
        {"type": "GENERATION", "model": "large", "input": [{"role": "user", "content": f"Say this again: {n} words"}],
         "output": f"You said: Say this again: {n} words"} for n in range(40)
    ]  # fmt: skip
    log, requests = written(tmp_path / "log.jsonl", *records), tmp_path / "requests.jsonl"
    models = "".join(
        f'[models.{role}]\nmodel = "{name}"\nbase_url = "{fake_openai.url}"\nprice = {price}\n'
        for role, name, price in (("weak", "small", "[0.1, 0.4]"), ("strong", "large", "[2, 8]"))
    )
    (tmp_path / "rar.toml").write_text(models, encoding="utf-8")

    read = run.invoke(app, ["import", "langfuse", str(log), "--out", str(requests)])
    arguments = ["plan", str(requests), "--config", str(tmp_path / "rar.toml"), "--embedder", "hashing"]
    shown = run.invoke(app, [*arguments, "--quality", "0.9"])
    dear = run.invoke(app, [*arguments, "--usd", "0.000001"])

    assert read.exit_code == 0, read.output
    assert "40 requests" in read.output
    assert shown.exit_code == 0, shown.output
    assert "100% of the weak answers agree" in shown.output
    assert len(fake_openai.calls("small")) == 40
    assert dear.exit_code == 1
    assert "would cost" in dear.output
    assert run.invoke(app, ["plan", str(requests)]).exit_code == 1
    assert run.invoke(app, ["import", "langfuse", str(log)]).exit_code == 1
