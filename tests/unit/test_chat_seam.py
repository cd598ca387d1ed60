"""The seam between prompt and answer: a given answer stands exactly where the model's own would, or is refused."""

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from engine_models import save_bytes
from hypothesis import given
from hypothesis import strategies as st

from selfboost import recipe
from selfboost.engines.chat import ChatTokenizer, open_tokenizer
from selfboost.engines.run_day import on_day
from selfboost.recipe_text import known_by
from selfboost.records import Message

TURN = "{{ '<|start|>' + m.role + '\n' + m.content + '<|end|>\n' }}"
START = "<|start|>assistant\n"
CHATML = (
    "{% for m in messages %}"
    + TURN
    + "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)
EMPTY = "<think>\n\n</think>\n\n"
SWITCHED = (
    "{% for m in messages %}{% if m.role == 'assistant' and loop.last %}"
    "{{ '<|start|>assistant\n<think>\n\n</think>\n\n' + m.content + '<|end|>\n' }}{% else %}" + TURN + "{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
"""As hybrid models have it: they think first unless this is switched off, and a given answer has an empty thought."""
UNSWITCHED = SWITCHED.replace("enable_thinking", "something_else").replace("is defined and not", "and not")
ALWAYS = CHATML.replace("assistant\n' }}{% endif", "assistant\n<think>\n' }}{% endif")
"""As distilled reasoners have it: the generation prompt opens the thought."""
SPEECHLESS = "{% for m in messages %}" + TURN + "{% endfor %}"
CHANNELS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<|start|>assistant<|header|>final\n' + m.content + '<|end|>' }}{% else %}" + TURN + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
TRIMMING = CHATML.replace("m.content", "m.content | trim")
ASKED = (Message(role="user", content="What now?"),)
TAGS = ("<think>", "</think>", "<|hole|>", "<h1>")


def opened(folder: Path, template: str, **settings: Any) -> ChatTokenizer:
    save_bytes(folder, template, TAGS)
    return open_tokenizer(str(folder), **settings)


def trained(tokenizer: ChatTokenizer, answer: str, messages: tuple[Message, ...] = ASKED) -> str:
    return tokenizer.raw.decode([*tokenizer.prompt_ids(messages), *tokenizer.answer_ids(answer)])


@pytest.mark.parametrize(
    ("template", "opening", "said"),
    [
        (CHATML, START, ""),
        (SWITCHED, START + EMPTY, "think first: this is switched off (engine.thinking = false)"),
        (UNSWITCHED, START + EMPTY, "before a given answer but not at the end of a prompt"),
        (ALWAYS, START + EMPTY, "opens a thought: prompts end with an empty one (engine.thinking = false)"),
        (SPEECHLESS, START, f"writes {START!r} before a given answer"),
        (CHANNELS, "<|start|>assistant<|header|>final\n", "writes '<|header|>final\\n' before a given answer"),
    ],
)
def test_prompts_end_where_answers_begin(template: str, opening: str, said: str, tmp_path: Path) -> None:
    tokenizer = opened(tmp_path, template)
    assert trained(tokenizer, "Go on.") == f"<|start|>user\nWhat now?<|end|>\n{opening}Go on.<|end|>"
    assert [note for note in tokenizer.notes if said not in note] == []
    assert bool(tokenizer.notes) == bool(said)
    earlier = (*ASKED, Message(role="assistant", content="This."), *ASKED)
    assert trained(tokenizer, "Go on.", earlier).endswith(f"{opening}Go on.<|end|>")


@pytest.mark.parametrize("template", [SWITCHED, UNSWITCHED, ALWAYS, SPEECHLESS, CHANNELS])
def test_what_is_exported_prompts_in_the_same_way(template: str, tmp_path: Path) -> None:
    """Other programs know only the template that is saved with the model."""
    parent, child = opened(tmp_path / "a", template), tmp_path / "b"
    parent.save(child)
    shutil.copy(tmp_path / "a" / "config.json", child)
    again = open_tokenizer(str(child))
    plain = [{"role": "user", "content": "What now?"}]
    own: Any = again.raw
    assert tuple(own.apply_chat_template(plain, add_generation_prompt=True, return_dict=False)) == parent.prompt_ids(
        ASKED
    )
    assert again.fingerprint == parent.fingerprint
    assert again.notes == ()


def test_a_model_may_think_where_given_answers_do(tmp_path: Path) -> None:
    thought = "Hm.\n</think>\n\nGo on."
    thinking = opened(tmp_path / "a", ALWAYS, thinking=True)
    assert trained(thinking, thought).endswith(f"{START}<think>\nHm.\n</think>\n\nGo on.<|end|>")
    with pytest.raises(ValueError, match=r"open thought, so the given answer 'Go on.' would be trained as one; set"):
        thinking.answer_ids("Go on.")
    assert len(thinking.answer_ids("")) == 1, "a measured prompt needs no answer"
    with pytest.raises(ValueError, match=r"holds a thought, but prompts end with an empty one; take thoughts out of"):
        opened(tmp_path / "b", ALWAYS).answer_ids(thought)
    hybrid = opened(tmp_path / "c", SWITCHED, thinking=True)
    own = trained(hybrid, f"<think>\n{thought}")
    assert own.endswith(f"{START}<think>\n{thought}<|end|>")
    tag = hybrid.raw.convert_tokens_to_ids("<think>")
    assert hybrid.answer_ids(f"<think>\n{thought}")[0] == tag, "in an answer it is what the model itself would write"


def test_a_template_that_loses_messages_is_refused_with_the_cure(tmp_path: Path) -> None:
    deaf = opened(tmp_path / "a", CHATML.replace("m.content", "m.content | upper"))
    with pytest.raises(ValueError, match=r"does not write a user's message as it is given; set engine.chat_template"):
        deaf.answer_ids("Go on.")
    mute = opened(tmp_path / "b", CHANNELS.replace("m.content + '<|end|>' }}{% else", "'<|end|>' }}{% else"))
    with pytest.raises(ValueError, match=r"does not write an assistant's answer as it is given; set engine.chat_temp"):
        mute.answer_ids("Go on.")
    with pytest.raises(
        ValueError, match=r"draws at random \(\| random\), so the same conversation would get other tok"
    ):
        opened(tmp_path / "c", CHATML + "{{ ['a', 'b'] | random }}")


def test_white_space_around_an_answer_is_the_templates(tmp_path: Path) -> None:
    assert trained(opened(tmp_path / "a", TRIMMING), "\n Go on. ").endswith(f"{START}Go on.<|end|>")
    assert trained(opened(tmp_path / "b", CHATML), "\n Go on. ").endswith(f"{START}\n Go on. <|end|>")


def test_end_tokens_written_by_hand_are_taken_off_and_counted(tmp_path: Path) -> None:
    tokenizer = opened(tmp_path, CHATML)
    plain = tokenizer.answer_ids("Eight.")
    assert [tokenizer.answer_ids(text) for text in ("Eight.<|end|>", "Eight. <|end|>\n", "Eight.<|end|><|end|>")] == [
        plain
    ] * 3
    assert tokenizer.answer_text("Eight.<|end|>") == "Eight."
    inside = tokenizer.answer_ids("One <|end|> two")
    assert inside.count(tokenizer.raw.eos_token_id) == 1
    assert tokenizer.notes == (
        "3 of 5 given answers ended with the text of an end token, which was taken off",
        "1 of 5 given answers contain the text of a control token, which is trained as text",
    )


@given(parts=st.lists(st.sampled_from([*TAGS, "<|end|>", "<|start|>", "<", ">", "|", "a", " ", "\n", "é"]), max_size=8))
def test_no_added_token_enters_by_a_message(parts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither special ones nor others that templates write or that look so; words like `<h1>` stay tokens."""
    folder = tmp_path_factory.getbasetemp() / "guarded"
    if not folder.exists():
        opened(folder, SWITCHED)
    tokenizer = open_tokenizer(str(folder))
    text = "x".join(["", *parts, ""])
    ids = tokenizer.prompt_ids([Message(role="user", content=text)])
    controls = {i for i, token in tokenizer.raw.added_tokens_decoder.items() if token.content != "<h1>"}
    harmless = tokenizer.prompt_ids([Message(role="user", content="x")])
    assert [i for i in ids if i in controls] == [i for i in harmless if i in controls]
    assert tokenizer.raw.decode(ids) == f"<|start|>user\n{text}<|end|>\n{START}{EMPTY}"


def test_an_empty_system_turn_is_put_where_there_is_none(tmp_path: Path) -> None:
    tokenizer = opened(tmp_path, "\n" + CHATML, empty_system=True)
    plain = opened(tmp_path, "\n" + CHATML)
    system = "<|start|>system\n<|end|>\n"
    assert trained(tokenizer, "Go on.") == trained(plain, "Go on.").replace("<|start|>user", f"{system}<|start|>user")
    told = (Message(role="system", content="Be short."), *ASKED)
    assert tokenizer.prompt_ids(told) == plain.prompt_ids(told)
    tokenizer.save(tmp_path / "child")
    shutil.copy(tmp_path / "config.json", tmp_path / "child")
    assert open_tokenizer(str(tmp_path / "child")).prompt_ids(ASKED) == tokenizer.prompt_ids(ASKED)
    again = open_tokenizer(str(tmp_path / "child"), empty_system=True)
    assert again.fingerprint == tokenizer.fingerprint, "it is put once"


def test_new_settings_change_no_fingerprint_until_they_are_set() -> None:
    engine = recipe.read(recipe.shipped()["spin-qwen3-0.6b-one-gpu"]).engine
    assert {"empty_system", "thinking"}.isdisjoint(known_by(engine))
    zephyr = known_by(recipe.read(recipe.shipped()["spin-zephyr-7b"]).engine)
    assert zephyr["empty_system"] is True
    assert "thinking" not in zephyr


def test_the_qwen3_recipes_train_answers_where_they_are_sampled(tmp_path: Path) -> None:
    """Their template is the plain one: with a hybrid model's tokenizer nothing of its thinking is left."""
    names = [name for name in recipe.shipped() if "qwen3" in name]
    assert len(names) == 3
    save_bytes(tmp_path, SWITCHED, TAGS)
    for name in names:
        engine: Any = recipe.read(recipe.shipped()[name]).engine
        tokenizer = open_tokenizer(str(tmp_path), engine.chat_template, thinking=engine.thinking)
        expected = "User:\nWhat now?\n\nAssistant:\nGo on.<|end|>"
        assert trained(tokenizer, "Go on.") == (
            expected if engine.chat_template else f"<|start|>user\nWhat now?<|end|>\n{START}{EMPTY}Go on.<|end|>"
        )
        assert not [note for note in tokenizer.notes if "other tokens" in note]


def test_a_template_sees_the_days_that_it_is_told(tmp_path: Path) -> None:
    dated = "{{ 'On ' + strftime_now('%d %b %Y') + '\n' }}" + CHATML
    found: dict[str, tuple[str, str]] = {}
    for day in ("2031-02-03", "2032-03-04"):
        with on_day(date.fromisoformat(day)):
            tokenizer = opened(tmp_path, dated)
        found[day] = (tokenizer.raw.decode(tokenizer.prompt_ids(ASKED)), tokenizer.fingerprint)
        assert (
            f"the chat template can show the date: it is {day} in all stages of the run (run.date)" in tokenizer.notes
        )
    assert found["2031-02-03"][0].startswith("On 03 Feb 2031\n<|start|>user")
    assert found["2032-03-04"][0].startswith("On 04 Mar 2032\n<|start|>user")
    assert found["2031-02-03"][1] != found["2032-03-04"][1]
    with on_day(date(2031, 2, 3)):
        plain = opened(tmp_path, CHATML).fingerprint
    assert plain == opened(tmp_path, CHATML).fingerprint, "a template without a clock does not see the day"
    assert "2031" not in json.dumps(tokenizer.notes)
