"""Patterns and chat templates of strangers: bounded in time, whatever they are and whatever they read."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from selfboost import templates
from selfboost.demo import EMBEDDED_MODEL
from selfboost.engines import chat, rendering
from selfboost.limits import limited
from selfboost.limits.processes import call
from selfboost.records import Message
from selfboost.templates import check_pattern, check_template, first_groups, groups_found

LIMIT = 0.3
THREADS = pytest.mark.parametrize("where", ["main thread", "other thread"])
SLACK = 60.0
"""A busy machine may notice an alarm late."""


def inside(where: str, function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """What a function does in the main thread or in another one."""
    if where == "main thread":
        return function(*arguments, **settings)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments, **settings).result()


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(a+)+$", "a" * 50 + "b"),
        (r"((?:.*)*)x", "a" * 50),
        (r"(.*.*.*.*.*.*)x", "a" * 5000),
        (r"(a|a)*$", "a" * 50 + "b"),
        (r"((\w+\s*)*)!", "word " * 20),
    ],
)
@THREADS
def test_a_pattern_that_backtracks_ends(pattern: str, text: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_pattern("method.score", pattern, "points")
    monkeypatch.setattr(templates, "PATTERN_SECONDS", LIMIT)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"method.score = .* took more than 0.3 s on a text of"):
        inside(where, groups_found, "method.score", pattern, text)
    assert time.monotonic() - began < SLACK


@THREADS
@pytest.mark.parametrize(
    ("pattern", "text", "dot_all", "found"),
    [
        (r"<q>(.*?)</q>", "<q>a\nb</q><q></q>", True, ["a\nb", ""]),
        (r"(x)|y", "yx", False, ["", "x"]),
        (r"(.)\n", "a\nb", False, ["a"]),
        (r"(.)", "ä\ud83d\u2028", False, ["ä", "\ud83d", "\u2028"]),
    ],
)
def test_groups_are_those_of_all_matches_and_empty_where_they_take_no_part(
    pattern: str, text: str, dot_all: bool, found: list[str], where: str
) -> None:
    assert inside(where, groups_found, "question", pattern, text, dot_all=dot_all) == found


@pytest.mark.parametrize("pattern", ["(", "(a{99999999999999999999})", "(" * 5000 + ")" * 5000, "(?P<x>a)(?P<x>b)"])
def test_a_pattern_that_is_none_is_one_sentence(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"score = .*: is not a valid regular expression"):
        check_pattern("score", pattern, "points")


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{prompt:>1000000000}", "{prompt} has a format; allowed: the field's name alone"),
        ("{prompt!r}", "{prompt} has a format"),
        ("{prompt:{prompt}}", "{prompt} has a format"),
        ("{prompt}" * 11, "has a field more than 10 times"),
        ("{prompt.x}", "has the fields prompt.x"),
    ],
)
def test_a_template_holds_names_alone(template: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^template: ") as caught:
        check_template("template", template, {"prompt"})
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{% for i in range(10**9) %}x{% endfor %}", "cannot render"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "it took more than 0.3 s"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "cannot render"),
        ("{{ (messages | length + 9) ** 9999999999 }}", "cannot render"),
        ("{{ 'a' * 10**10 }}", "took more than 2 GiB of memory"),
        ("{{ messages[0]['content'] | center(10**10) }}", "took more than 2 GiB of memory"),
        ("{{ '%1000000000d' % 1 }}", "cannot render"),
        ("{% for i in range(99999) %}{{ messages | tojson }}{% endfor %}", "cannot render"),
    ],
)
@THREADS
def test_a_chat_template_that_loops_ends(
    template: str, sentence: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "it.jinja").write_text(template)
    inside(where, chat.open_tokenizer, str(EMBEDDED_MODEL))  # imports what it needs
    monkeypatch.setattr(rendering, "TEMPLATE_SECONDS", LIMIT)
    began = time.monotonic()
    with pytest.raises(ValueError, match="chat template cannot render") as caught:
        inside(where, chat.open_tokenizer, str(EMBEDDED_MODEL), str(tmp_path / "it.jinja"))
    assert sentence in str(caught.value)
    assert time.monotonic() - began < SLACK


def test_a_chat_template_writes_no_more_than_a_conversation_needs(tmp_path: Path) -> None:
    (tmp_path / "it.jinja").write_text("{{ '%2000000d' % 1 }}")
    with pytest.raises(ValueError, match=r"it writes 2,000,000 characters, more than 1,000,340"):
        chat.open_tokenizer(str(EMBEDDED_MODEL), str(tmp_path / "it.jinja"))


def test_another_thread_renders_what_the_main_thread_does() -> None:
    def ids() -> list[tuple[int, ...]]:
        tokenizer = chat.open_tokenizer(str(EMBEDDED_MODEL))
        return [tokenizer.prompt_ids([Message(role="user", content=text)]) for text in ("What is 3 and 4 ?", "<end> é")]

    assert inside("other thread", ids) == ids()


def test_a_worker_that_was_killed_is_started_again() -> None:
    with pytest.raises(ValueError, match="too long"):
        call(first_groups, r"(a+)+$", "a" * 50 + "b", 0, seconds=LIMIT, sentence="too long")
    assert call(first_groups, r"(a)", "aa", 0, seconds=60, sentence="too long") == ["a", "a"]
    with pytest.raises(ValueError, match="unterminated"):
        call(first_groups, r"(a", "aa", 0, seconds=60, sentence="too long")


def test_a_time_limit_leaves_what_is_in_time_alone() -> None:
    with limited(60, "too long"), limited(30, "far too long"):
        value = sum(range(1000))
    assert value == 499_500
    with pytest.raises(ValueError, match="the outer one"):
        wait_after_an_inner_limit()


def wait_after_an_inner_limit() -> None:
    with limited(LIMIT, "the outer one"):
        with limited(60, "the inner one"):
            pass
        time.sleep(SLACK)
