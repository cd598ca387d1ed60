"""Seeds of several turns: rewriting, keywords and de-duplication see the whole conversation."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_recipes import WORDS, run, summary, write_recipe
from selfboost import store
from selfboost.data.seeds import Seed, question_texts, spoken_texts
from selfboost.prompts.generator import _new_prompt
from selfboost.prompts.novelty import Novelty, NoveltyRule
from selfboost.records import Answer, Example, Message, Origin, Pair, Prompt, dialogue, from_transcript, transcript

LAST = "Please go on about it."
"""The last message of every conversation: alone it tells none from another."""


def turns(*contents: str, system: str = "") -> tuple[Message, ...]:
    told = (Message(role="system", content=system),) if system else ()
    return told + tuple(Message(role=("user", "assistant")[i % 2], content=c) for i, c in enumerate(contents))


def conversation(i: int) -> list[str]:
    first = f"Compare the {WORDS[i]} with the {WORDS[i + 3]} and the {WORDS[i + 7]}."
    return [first, f"The {WORDS[i + 11]} is wide.", LAST]


def multi_turn_run(folder: Path, method: str, *settings: str) -> Path:
    path = write_recipe(folder, method)
    rows = [
        {"messages": [{"role": m.role, "content": m.content} for m in turns(*conversation(i), f"It is gold {i}.")]}
        for i in range(18)
    ]
    (folder / "seed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(path, folder / "run", *settings)
    return folder / "run"


def rows(root: Path, stage: str, kind: type[Any]) -> list[Any]:
    card = store.read_card(root / "stages" / stage)
    assert card is not None, stage
    return store.read_rows(root, card, kind)


def test_a_rewrite_request_and_keywords_come_of_all_turns(tmp_path: Path) -> None:
    root = multi_turn_run(
        tmp_path, "synpo", "method.improver.threshold=-inf", "scorer.threshold=-1e9", "run.iterations=1"
    )
    for example in rows(root, "iteration-1/improver", Example):
        (request,) = example.prompt.messages
        i = int(example.answer.text.split()[-1].rstrip("."))
        one, two, three = conversation(i)
        assert f"User: {one}\n\nAssistant: {two}\n\nUser: {three}" in request.content
    written = rows(root, "prepare/generator", Example)
    assert len(written) == 10, "no conversation lacks keywords, though its last message has none of its own"
    for example in written:
        i = int(example.answer.text.split("gold ")[1].split(".")[0])
        assert transcript(turns(*conversation(i))) in example.answer.text
        own = set(" ".join(conversation(i)).lower().replace(".", "").split())
        assert len(own & set(example.prompt.origin.keywords)) >= 2
    counts = summary(root)["iterations"][1]["notes"]["prompts"]["counts"]
    assert counts["kept"] > 0


def test_self_rewarding_judges_the_whole_conversation(tmp_path: Path) -> None:
    root = multi_turn_run(
        tmp_path, "self_rewarding", "method.prompts_from=seed", "scorer.threshold=-1e9", "run.iterations=1"
    )
    asked = rows(root, "iteration-1/judgements", Answer)
    assert asked
    assert all("\n\nAssistant: The " in answer.prompt.messages[0].content for answer in asked)


def test_pairs_are_told_apart_by_all_turns(tmp_path: Path) -> None:
    """The last messages are equal: only a conversation that repeats a measured one is kept out of the training."""
    data = tmp_path / "manual.jsonl"
    sides = {"chosen": "Much.", "rejected": "Less."}
    asked = [
        *(conversation(i) for i in range(18)),
        ["What of tea?", "A drink.", LAST],
        ["And of rain?", "It falls.", LAST],
    ]
    path = write_recipe(tmp_path, "manual_data")
    listed = [[{"role": m.role, "content": m.content} for m in turns(*each)] for each in asked]
    (tmp_path / "seed.jsonl").write_text(
        "".join(
            json.dumps({"messages": [*each, {"role": "assistant", "content": f"Gold {i}."}]}) + "\n"
            for i, each in enumerate(listed[:18])
        )
    )
    data.write_text("".join(json.dumps({"prompt": each, **sides}) + "\n" for each in listed))
    run(path, tmp_path / "run", "method.novelty.shared_words=12")
    counts = summary(tmp_path / "run")["iterations"][1]["notes"]["pairs"]["counts"]
    assert counts["equals a held_out prompt"] == counts["equals a validation prompt"] == 4
    assert counts["kept"] == 12
    assert {len(pair.prompt.messages) for pair in rows(tmp_path / "run", "iteration-1/policy", Pair)} == {3}


def test_a_shared_system_message_makes_no_conversations_alike() -> None:
    long = "You are an assistant who answers every question of a person as well and as briefly as it can."
    one, other = (turns(text, system=long) for text in ("What is rain?", "How do owls fly?"))
    novelty = Novelty(NoveltyRule(), [(dialogue(one), "equals a seed prompt")], {})
    assert novelty.objection(dialogue(other)) == ""
    assert novelty.objection(dialogue(one)) == "equals a seed prompt"
    seed = Seed(messages=one, response="Water.")
    assert question_texts([seed]) == spoken_texts([seed]) == ["What is rain?"]


CONTENT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).map(str.strip).filter(bool)


@given(st.lists(CONTENT, min_size=1, max_size=7).filter(lambda found: len(found) % 2 == 1))
def test_a_transcript_is_read_back(contents: list[str]) -> None:
    messages = turns(*contents)
    assert from_transcript(transcript(messages)) == messages


@pytest.mark.parametrize(
    "text",
    [
        "What is rain?",
        "User: What is rain?",
        "User: Hi\n\nAssistant: Hello",
        "User: Hi\n\nUser: Hello\n\nUser: You",
        "So: User: Hi\n\nAssistant: Hello\n\nUser: You",
        "User: Hi\n\nAssistant: \n\nUser: You",
        "",
    ],
)
def test_what_is_no_transcript_is_one_message(text: str) -> None:
    assert from_transcript(text) == (Message(role="user", content=text),)


def test_a_new_conversation_is_put_to_models_as_one() -> None:
    asked = Prompt(messages=turns("Design."), origin=Origin(source="keywords", keywords=("rain",)))
    output = Answer(prompt=asked, text="…", prompt_ids=(1,), token_ids=(2,))
    text = "User: Hi\n\nAssistant: Hello\n\nUser: What is rain?"
    found = _new_prompt(output, text, 2, in_turns=True)
    assert found.messages == turns("Hi", "Hello", "What is rain?")
    assert found.origin == Origin(source="prompts", iteration=2, keywords=("rain",), parent=output.id)
    assert _new_prompt(output, text, 2, in_turns=False).messages == turns(text), "where seeds have one turn, it is text"


def test_one_turn_reads_as_before() -> None:
    for system in ("", "Be short."):
        prompt = Prompt(messages=turns("What is rain?", system=system), origin=Origin(source="seed"))
        assert prompt.dialogue == prompt.text == "What is rain?"
    assert transcript(turns("What is rain?")) == "What is rain?"
