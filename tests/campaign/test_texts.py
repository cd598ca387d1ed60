"""Patterns and chat templates of strangers: bounded in time, whatever they are and whatever they read."""

import time
from pathlib import Path

import pytest

from selfboost import templates
from selfboost.demo import EMBEDDED_MODEL
from selfboost.engines import chat, rendering
from selfboost.templates import check_pattern, check_template, groups_found, time_limit

LIMIT = 0.3
SLACK = 10.0
"""A busy machine may notice an alarm late."""


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
def test_a_pattern_that_backtracks_ends(pattern: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_pattern("method.score", pattern, "points")
    monkeypatch.setattr(templates, "PATTERN_SECONDS", LIMIT)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"method.score = .* took more than 0.3 s on a text of"):
        groups_found("method.score", pattern, text)
    assert time.monotonic() - began < SLACK


def test_groups_are_those_of_all_matches_and_empty_where_they_take_no_part() -> None:
    assert groups_found("question", r"<q>(.*?)</q>", "<q>a\nb</q><q></q>", dot_all=True) == ["a\nb", ""]
    assert groups_found("question", r"(x)|y", "yx") == ["", "x"]
    assert groups_found("question", r"(.)\n", "a\nb") == ["a"]


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
    ],
)
def test_a_chat_template_that_loops_ends(
    template: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "it.jinja").write_text(template)
    monkeypatch.setattr(rendering, "TEMPLATE_SECONDS", LIMIT)
    began = time.monotonic()
    with pytest.raises(ValueError, match="chat template cannot render") as caught:
        chat.open_tokenizer(str(EMBEDDED_MODEL), str(tmp_path / "it.jinja"))
    assert sentence in str(caught.value)
    assert time.monotonic() - began < SLACK


def test_a_time_limit_leaves_what_is_in_time_alone() -> None:
    with time_limit(60, "too long"), time_limit(30, "far too long"):
        value = sum(range(1000))
    assert value == 499_500
    with pytest.raises(ValueError, match="the outer one"):
        wait_after_an_inner_limit()


def wait_after_an_inner_limit() -> None:
    with time_limit(LIMIT, "the outer one"):
        with time_limit(60, "the inner one"):
            pass
        time.sleep(SLACK)
