"""Training data: which answers are kept to train on, what becomes of them in each format, and how they go again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rar import Router
from rar.cli.commands import app
from rar.errors import ConfigurationError, UnknownNameError
from rar.learning.judges import Verdict
from rar.memory import SQLiteMemory
from rar.memory.base import Batch, Memory
from rar.training import examples
from rar.values import Message, Reply, Request, question
from tests.contract.memory import judged, label
from tests.core.world import Scripted, easy, harbour, pair, serve, teach_harbours, truth, user_text
from tests.extending.dict_memory import DictMemory
from tests.fake_openai import FakeOpenAI
from tests.fake_openai import Reply as Scripted_


def ask(text: str) -> str:
    return json.dumps([{"role": "user", "content": text}])


def said(example: dict[str, Any], column: str) -> str:
    (message,) = example[column]
    assert message["role"] == "assistant"
    return str(message["content"])


@pytest.fixture
def memory() -> Memory:
    return DictMemory()


def router(memory: Memory, **options: Any) -> Router:
    defaults = {"embedder": "hashing", "learning": "inline", "learning_budget": None, "store_answers": True, "seed": 0}
    return Router(memory=memory, **{**defaults, **options})


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_nothing_is_kept_unless_asked_for(memory: Memory) -> None:
    with router(memory, store_answers=False) as opened:
        serve(opened, pair(), harbour(3))  # type: ignore[arg-type]

    assert list(memory.judged_answers()) == []


def test_each_judged_attempt_is_kept_with_the_prompt_that_was_answered(memory: Memory) -> None:
    with router(memory) as opened:
        request = replace(harbour(3), messages=(Message("system", "Be brief."), *harbour(3).messages))
        decision, _ = serve(opened, pair(), request)  # type: ignore[arg-type]

    *guided, alone = memory.judged_answers()
    (asked,) = harbour(3).messages
    assert json.loads(alone.prompt) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": asked.text},
    ]
    assert (alone.decision_id, alone.place, alone.agrees, alone.guide_id) == (decision.id, 0, False, None)
    assert (alone.weak, alone.strong, alone.weak_id, alone.strong_id) == ("-1", "9", "small-1", "big-1")
    assert guided
    assert all((one.agrees, one.weak, one.prompt) == (True, "9", alone.prompt) for one in guided)
    assert all(memory.guide(one.guide_id or "") is not None for one in guided)


@pytest.mark.parametrize(
    "request_", [replace(harbour(3), learn=False), replace(harbour(3), force="strong"), replace(harbour(3), key=None)]
)
def test_nothing_is_kept_of_calls_that_nobody_may_learn_from(memory: Memory, request_: Request) -> None:
    with router(memory) as opened:
        serve(opened, pair(), request_)  # type: ignore[arg-type]

    assert list(memory.judged_answers()) == []


def test_nothing_is_kept_that_no_judge_could_tell(memory: Memory) -> None:
    with router(memory, judge=lambda request, reference, candidate: Verdict(None, "mine", "cannot tell")) as opened:
        serve(opened, pair(), harbour(3))  # type: ignore[arg-type]

    assert list(memory.judged_answers()) == []


class Pictured:
    """A framework's message with an image."""

    def __init__(self, text: str) -> None:
        self.content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": "https://example.com"}]


@pytest.mark.parametrize(
    "change",
    [
        {"task": "tools:1234"},
        {"task": "schema:1234"},
        {"messages": (*harbour(3).messages, Message("tool", "9"))},
        {"messages": (Message("user", harbour(3).key or "", Pictured(harbour(3).key or "")),)},
        {"messages": (Message("user", f"{'long ' * 10_000}{harbour(3).key}"),)},
    ],
)
def test_prompts_that_a_text_does_not_show_are_not_kept(memory: Memory, change: dict[str, Any]) -> None:
    with router(memory) as opened:
        serve(opened, pair(), replace(harbour(3), **change))  # type: ignore[arg-type]

    assert list(memory.judged_answers()) == []


def test_answers_that_were_cut_short_are_not_kept(memory: Memory) -> None:
    class Cut(Scripted):
        def call(self, call: Any) -> Reply:
            return replace(super().call(call), finish="length")

    models = {**pair(), "weak": Cut("small-1", lambda call: "-1")}
    with router(memory) as opened:
        serve(opened, models, harbour(3))  # type: ignore[arg-type]

    assert list(memory.judged_answers()) == []


def test_thinking_is_not_kept(memory: Memory) -> None:
    weak = Scripted("small-1", lambda call: f"<think>Let me see.</think>{truth(user_text(call))}")
    with router(memory) as opened:
        serve(opened, {**pair(), "weak": weak}, easy(7))  # type: ignore[arg-type]

    assert [one.weak for one in memory.judged_answers()] == ["7"]


def test_what_is_kept_is_redacted_first(memory: Memory) -> None:
    with router(memory, redact=lambda text: text.replace("port office", "[whom]").replace("9", "[fee]")) as opened:
        serve(opened, pair(), harbour(3))  # type: ignore[arg-type]

    kept = list(memory.judged_answers())
    assert kept
    assert all("[whom]" in one.prompt and "port office" not in one.prompt for one in kept)
    assert all(one.strong == "[fee]" for one in kept)


def test_nothing_is_kept_of_a_text_that_cannot_be_redacted(memory: Memory) -> None:
    def redact(text: str) -> str:
        if text == "9":
            raise ValueError
        return text

    with router(memory, redact=redact) as opened:
        serve(opened, pair(), harbour(3))  # type: ignore[arg-type]

    assert list(memory.judged_answers()) == []


@pytest.mark.parametrize(
    ("options", "said"), [({"store_text": False}, "store_text=False"), ({"memory": None}, "memory=None")]
)
def test_answers_cannot_be_kept_where_no_text_or_nothing_is(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Router(**{"memory": ":memory:", "embedder": "hashing", "store_answers": True, **options})


def test_answers_stay_in_their_namespace_and_go_with_it(memory: Memory) -> None:
    with router(memory) as opened:
        for namespace in ("one", "two"):
            serve(opened, pair(), replace(harbour(3), namespace=namespace))  # type: ignore[arg-type]

        assert examples(memory, "sft", namespace="one") == examples(memory, "sft", namespace="two") != []
        memory.delete(namespace="one")
        assert examples(memory, "sft", namespace="one") == []
        assert examples(memory, "sft", namespace="two") != []


# --- formats ----------------------------------------------------------------------------------------------------------


def test_a_disagreement_is_a_pair_and_an_agreement_is_not(memory: Memory) -> None:
    memory.write(
        Batch(
            judged=(
                judged("a", prompt=ask("What is 2+2?"), weak="5", strong="4"),
                judged("b", prompt=ask("What is 3+3?"), weak="It is 6.", strong="6", agrees=True, gap=0.0),
            )
        )
    )

    (found,) = examples(memory, "dpo")
    assert found["prompt"] == [{"role": "user", "content": "What is 2+2?"}]
    assert (said(found, "chosen"), said(found, "rejected")) == ("4", "5")
    assert [said(one, "completion") for one in examples(memory, "sft")] == ["4", "6"]
    told = [(said(one, "completion"), one["label"]) for one in examples(memory, "kto")]
    assert sorted(told) == [("4", True), ("5", False), ("6", True), ("It is 6.", True)]


def test_an_answer_that_a_guide_helped_to_trains_without_the_guide(memory: Memory) -> None:
    with router(memory) as opened:
        teach_harbours(opened, pair())  # type: ignore[arg-type]

    kept = list(memory.judged_answers())
    assert any(one.guide_id for one in kept)
    for form in ("sft", "dpo", "kto"):
        assert "Read the tonnage" not in json.dumps(examples(memory, form))
    assert {said(one, "completion") for one in examples(memory, "sft")} == {"9", "12", "15"}


def test_of_attempts_with_a_guide_only_those_that_worked_are_used(memory: Memory) -> None:
    alone, failed = judged("a", weak="5"), judged("a", 1, weak="6", guide_id="g")
    worked = judged("a", 2, weak="It is 4.", guide_id="h", agrees=True, gap=0.0)
    memory.write(Batch(judged=(alone, failed, worked)))

    assert [said(one, "completion") for one in examples(memory, "sft")] == ["It is 4."]
    assert [said(one, "rejected") for one in examples(memory, "dpo")] == ["5"]
    assert "6" not in {said(one, "completion") for one in examples(memory, "kto")}


def test_a_prompt_counts_once_whatever_its_spelling_and_the_last_verdict_on_it_stands(memory: Memory) -> None:
    first = judged("a", prompt=ask("What is 2+2?"), weak="5")
    again = judged("b", prompt=ask("what is 2+2"), weak="4, of course", agrees=True, gap=0.0, at=2.0)
    memory.write(Batch(judged=(first, again)))

    assert examples(memory, "dpo") == []
    (one,) = examples(memory, "sft")
    assert one["prompt"] == json.loads(again.prompt)


def test_what_stands_before_the_question_tells_prompts_apart(memory: Memory) -> None:
    told = [
        json.dumps([{"role": "system", "content": text}, {"role": "user", "content": "How many are there?"}])
        for text in ("There are 4 of them.", "There are 5 of them.")
    ]
    memory.write(Batch(judged=tuple(judged(str(n), prompt=prompt) for n, prompt in enumerate(told))))

    assert len(examples(memory, "dpo")) == 2


def test_answers_that_say_the_same_make_no_pair(memory: Memory) -> None:
    memory.write(Batch(judged=(judged("a", weak="The answer is four", strong="the answer is four."),)))

    assert examples(memory, "dpo") == []


def test_a_person_overrules_the_judge(memory: Memory) -> None:
    memory.write(
        Batch(
            judged=tuple(judged(id, prompt=ask(f"Say {id}."), weak=f"w {id}", strong=f"s {id}") for id in "abc"),
            labels=(
                label("a", weak=1.0, strong=0.0),
                label("b", weak=1.0, strong=1.0),
                label("c", weak=0.0, strong=0.2),
            ),
        )
    )

    pairs = [(said(one, "chosen"), said(one, "rejected")) for one in examples(memory, "dpo")]
    assert pairs == [("w a", "s a"), ("s c", "w c")]
    assert [said(one, "completion") for one in examples(memory, "sft")] == ["s b"]
    good = {said(one, "completion") for one in examples(memory, "kto") if one["label"]}
    assert good == {"w a", "w b", "s b"}


def test_only_one_models_answers_may_be_wanted(memory: Memory) -> None:
    memory.write(Batch(judged=(judged("a"), judged("b", prompt=ask("Why?"), weak_id="mid-1"))))

    (one,) = examples(memory, "dpo", model="mid-1")
    assert one["prompt"][0]["content"] == "Why?"
    with pytest.raises(UnknownNameError, match="ppo"):
        examples(memory, "ppo")  # type: ignore[arg-type]


# --- in both frameworks ----------------------------------------------------------------------------------------------

IMAGE = "data:image/png;base64,iVBORw0KGgo="


def test_langchain_keeps_conversations_in_text(fake_openai: FakeOpenAI, memory: Memory) -> None:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
    from langchain_openai import ChatOpenAI

    from langchain_rar import RouterChatModel

    fake_openai.script("small", Scripted_("France"))
    fake_openai.script("large", Scripted_("Italy"))
    usual: Any = {"base_url": fake_openai.url, "api_key": "none", "max_retries": 0}
    model = RouterChatModel(
        ChatOpenAI(model="small", **usual), ChatOpenAI(model="large", **usual), memory=memory, embedder="hashing",
        learning="inline", learning_budget=None, judge="exact", guides=False, store_answers=True,
    )  # fmt: skip
    earlier = [HumanMessage("Where is Rome?"), AIMessage([{"type": "text", "text": "In Italy."}])]
    model.invoke([SystemMessage("Be brief."), *earlier, HumanMessage("In which country is Turin?")])
    picture = [{"type": "text", "text": "Which country is this?"}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    model.invoke([HumanMessage(picture)])

    (pair,) = examples(memory, "dpo")
    assert [message["role"] for message in pair["prompt"]] == ["system", "user", "assistant", "user"]
    assert pair["prompt"][2]["content"] == "In Italy."
    assert (said(pair, "chosen"), said(pair, "rejected")) == ("Italy", "France")


def test_llama_index_keeps_conversations_in_text(fake_openai: FakeOpenAI, memory: Memory) -> None:
    from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
    from llama_index.llms.openai_like import OpenAILike

    from llama_index_rar import RouterLLM

    fake_openai.script("small", Scripted_("France"))
    fake_openai.script("large", Scripted_("Italy"))
    usual: Any = {"api_base": fake_openai.url, "api_key": "none", "is_chat_model": True, "max_retries": 0}
    llm = RouterLLM(
        OpenAILike(model="small", **usual), OpenAILike(model="large", **usual), memory=memory, embedder="hashing",
        learning="inline", learning_budget=None, judge="exact", guides=False, store_answers=True,
    )  # fmt: skip
    llm.chat([ChatMessage("Be brief.", role="system"), ChatMessage("In which country is Turin?", role="user")])
    picture = [TextBlock(text="Which country is this?"), ImageBlock(url=IMAGE)]
    llm.chat([ChatMessage(picture, role="user")])

    (pair,) = examples(memory, "dpo")
    assert [message["content"] for message in pair["prompt"]] == ["Be brief.", "In which country is Turin?"]
    assert (said(pair, "chosen"), said(pair, "rejected")) == ("Italy", "France")


# --- on the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with SQLiteMemory(tmp_path / "rar.db") as memory, router(memory) as opened:
        teach_harbours(opened, pair())  # type: ignore[arg-type]
        serve(opened, pair(), question("Please repeat this number after me without any change: 8"))  # type: ignore[arg-type]
    return tmp_path / "rar.db"


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(map(str, words)))
    return done.exit_code, done.stdout if done.exit_code == 0 else done.stderr


@pytest.mark.parametrize(
    ("form", "columns"),
    [
        ("sft", {"prompt", "completion"}),
        ("dpo", {"prompt", "chosen", "rejected"}),
        ("kto", {"prompt", "completion", "label"}),
    ],
)
def test_a_file_of_examples_is_written(file: Path, tmp_path: Path, form: str, columns: set[str]) -> None:
    code, _ = run("export", file, tmp_path / "out.jsonl", "--format", form)

    assert code == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert rows
    assert all(set(row) == columns for row in rows)
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o077 == 0


def test_a_memory_without_answers_says_what_to_do(tmp_path: Path) -> None:
    with SQLiteMemory(tmp_path / "rar.db") as memory, router(memory, store_answers=False) as opened:
        serve(opened, pair(), harbour(3))  # type: ignore[arg-type]

    code, why = run("export", tmp_path / "rar.db", "--format", "dpo")
    assert code == 1
    assert why.startswith("rar: There is nothing to train on: ")
    assert "Route with store_answers=True" in why
    assert run("export", tmp_path / "rar.db", "--format", "csv")[0] == 1


def test_answers_are_deleted_alone(file: Path) -> None:
    code, said_ = run("delete", file, "--answers", "--yes")

    assert (code, said_.split()[1:]) == (0, ["answers", "deleted."])
    with SQLiteMemory(file) as memory:
        assert list(memory.judged_answers()) == []
        assert memory.stats().experiences > 0
    assert b"without any change: 8" in file.read_bytes()  # the question is still known
    assert run("delete", file, "--answers", "--id", "a")[0] == 1
