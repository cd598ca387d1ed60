"""New prompts from keywords: what is read out of an output, what is dropped and why, nothing twice."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fake_recipes import run, summary, write_recipe
from selfboost import store
from selfboost.prompts.generator import PromptGenerator
from selfboost.prompts.novelty import copied
from selfboost.records import Answer, Origin, Pair, user_prompt

PROMPT = user_prompt("Design a question.", Origin(source="keywords", keywords=("one", "two")))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
LAST_DIGIT = r"<question>\w+ \d*(\d) of"
"""What the fake engine writes, read so that few questions differ."""
KEEP_ALL: dict[str, Any] = {"scorer": {"threshold": -1000.0}, "method__filter": {"keep_cut": True}}


def output(text: str, **fields: Any) -> Answer:
    return Answer(prompt=PROMPT, text=text, prompt_ids=(), token_ids=(1,), **{"finish": "stop"} | fields)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (output("<question> Why? </question><solution>So.</solution>"), ("Why?", "")),
        (output("### x\n<question>Two\nlines?</question>"), ("Two\nlines?", "")),
        (output("<question>A?</question> <question>B?</question>"), ("A?", "")),
        (output("<question>the question</question>"), ("", "copied template")),
        (output("<question>The Solution!</question>"), ("", "copied template")),
        (output("<question> </question>"), ("", "empty")),
        (output("<question>Why?"), ("", "no question found")),
        (output("<question>Why?", finish="length"), ("", "cut at the token limit")),
        (output("<question>Why?</question> and on", finish="length"), ("Why?", "")),
        (output("", finish="failed", reason="too long"), ("", "failed")),
        (output(f"<question>{'why ' * 6}</question>"), ("", "too long")),
    ],
)
def test_reads_the_question_or_says_why_not(answer: Answer, expected: tuple[str, str]) -> None:
    assert PromptGenerator(longest=5)._read(answer) == expected


@given(TEXT, st.sampled_from(["stop", "length", "failed"]))
def test_any_output_gives_a_question_or_a_reason(text: str, finish: str) -> None:
    found, reason = PromptGenerator()._read(output(text, finish=finish))
    assert bool(found) != bool(reason)
    assert found == found.strip()
    assert found in text


@given(TEXT.filter(lambda text: "<" not in text and text.strip()), TEXT)
def test_what_it_learns_to_write_is_what_is_read(question: str, solution: str) -> None:
    generator = PromptGenerator()
    written = generator.target.format(question=question, solution=solution)
    assume(not copied(question, generator.template, 8))
    assert generator._read(output(written)) == (question.strip(), "")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"template": "no field"}, "template"),
        ({"target": "{question} alone"}, "target"),
        ({"question": "(unclosed"}, r"question = '\(unclosed': is not a valid regular expression"),
        ({"question": "no group"}, "must have a group that captures"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        PromptGenerator(**settings)  # type: ignore[arg-type]


def outputs(root: Path, iteration: int) -> list[Answer]:
    card = store.read_card(root / "stages" / f"iteration-{iteration}" / "prompts")
    assert card is not None
    return store.read_rows(root, card, Answer)


def prompts_made(root: Path, iteration: int) -> list[str]:
    card = store.read_card(root / "stages" / f"iteration-{iteration}" / "drafts")
    assert card is not None
    return [answer.prompt.text for answer in store.read_rows(root, card, Answer)]


def test_every_keyword_list_is_used_once_and_counted(tmp_path: Path) -> None:
    root = tmp_path / "run"
    run(write_recipe(tmp_path, "synpo", run={"iterations": 3}), root)
    lists = [frozenset(a.prompt.origin.keywords) for t in (1, 2, 3) for a in outputs(root, t)]
    assert len(set(lists)) == len(lists) == 72
    made = [prompts_made(root, t) for t in (1, 2, 3)]
    texts = [text for texts in made for text in texts]
    assert len(set(texts)) == len(texts)
    for t in (1, 2, 3):
        counts = dict(summary(root)["iterations"][t]["notes"]["prompts"]["counts"])
        assert counts.pop("keyword lists") == sum(counts.values()) == len(outputs(root, t)) == 24
        assert counts["kept"] == len(made[t - 1])


def test_a_question_is_taken_once_in_all_iterations(tmp_path: Path) -> None:
    """Where a digit is a question there are ten: each is kept once, ever."""
    path = write_recipe(
        tmp_path, "synpo", method={"prompts": 8}, method__generator={"question": LAST_DIGIT}, **KEEP_ALL
    )
    root = tmp_path / "run"
    run(path, root)
    first, second = prompts_made(root, 1), prompts_made(root, 2)
    notes = [iteration["notes"]["prompts"]["counts"] for iteration in summary(root)["iterations"][1:]]
    assert len({*first, *second}) == len(first) + len(second) <= 10
    assert notes[0]["duplicate"] > 0
    assert notes[1]["duplicate"] > 0
    for counts in notes:
        assert sum(counts.values()) == 2 * counts["keyword lists"]


def test_too_few_keywords_for_all_iterations_are_found_out_before_any_work(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "synpo", run={"iterations": 3}, method={"prompts": 400})
    with pytest.raises(
        ValueError, match=r"paragraphs give (only|at most) \d+ different lists of 3 keywords, 2400 are needed"
    ):
        run(path, tmp_path / "run")
    assert not (tmp_path / "run" / "stages" / "prepare" / "generator").exists()
    assert not (tmp_path / "run" / "stages" / "iteration-1" / "prompts").exists()


@pytest.mark.parametrize("split", ["validation", "held_out"])
def test_a_measured_prompt_is_never_made_again(tmp_path: Path, split: str) -> None:
    """Every digit but two is a measured prompt: those outputs are dropped and counted under the split's name."""
    path = write_recipe(
        tmp_path,
        "synpo",
        run={"iterations": 1},
        seed={split: "measured.jsonl"},
        method__generator={"question": LAST_DIGIT},
        **KEEP_ALL,
    )
    rows = [{"prompt": str(digit), "response": "x"} for digit in range(8)]
    (tmp_path / "measured.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    root = tmp_path / "run"
    run(path, root)
    assert set(prompts_made(root, 1)) <= {"8", "9"}
    counts = summary(root)["iterations"][1]["notes"]["prompts"]["counts"]
    assert counts[f"equals a {split} prompt"] > 0
    pairs = store.read_card(root / "stages" / "iteration-1" / "policy")
    assert pairs is not None
    assert {pair.prompt.text for pair in store.read_rows(root, pairs, Pair)} <= {"8", "9"}
