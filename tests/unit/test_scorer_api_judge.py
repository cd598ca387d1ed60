"""The judge behind a server: what counts as a verdict, that a constant judge says nothing, what is told of it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from scored_answers import answer

from fake_recipes import run, summary, write_recipe
from selfboost import recipe
from selfboost.endpoints import Endpoint
from selfboost.endpoints.fake_server import HOSTILE, FakeReply, FakeServer, Said
from selfboost.plan import plan
from selfboost.plan.judges import family, report_notes, server_notes
from selfboost.recipe_text import known_by, recipe_text
from selfboost.records import Verdict
from selfboost.scorers import pairwise, unit_of
from selfboost.scorers.api_judge import ApiJudge
from selfboost.scorers.replies import LABEL, read_label
from selfboost.train.fake import Fake as FakeTrainer

SCORES = "iteration-1/answer-scores"
PAIR = [answer("short"), answer("a longer one", index=1)]
NOWHERE = Endpoint(url="http://127.0.0.1:9/v1", model="some-judge", key_variable="")
Request = Mapping[str, Any]


def shown(request: Request) -> tuple[str, str]:
    """The two answers of a request, as shown."""
    text = request["messages"][0]["content"]
    first, second = text.partition("[Answer A]\n")[2], text.partition("[Answer B]\n")[2]
    return first.partition("\n[End")[0], second.partition("\n[End")[0]


def longer(request: Request) -> str:
    first, second = shown(request)
    return "C" if len(first) == len(second) else "A" if len(first) > len(second) else "B"


def judged(reply: Callable[[Request], Said], *answers, refuses=(), **settings) -> tuple[list[Verdict], FakeServer]:
    with FakeServer(reply, refuses=refuses) as server:
        endpoint = Endpoint(url=server.url, model="fake", key_variable="", retries=0, concurrent=2)
        found = ApiJudge(endpoint=endpoint, **settings).score(answers or PAIR, {}, FakeTrainer())
        return list(found), server


def values(reply: Callable[[Request], Said], *answers, **settings) -> list[float | None]:
    return [verdict.value for verdict in judged(reply, *answers, **settings)[0]]


def chances(**chosen: float) -> Callable[[Request], Said]:
    return lambda request: FakeReply(text="A", probabilities=chosen)


# Pairs.


@pytest.mark.parametrize(
    "constant",
    [
        lambda request: "A", lambda request: "B", lambda request: "C", lambda request: "so [[A]]",
        chances(A=0.7, B=0.2), chances(A=0.1, B=0.33, C=0.5), chances(B=0.9),
    ],
)  # fmt: skip
def test_a_constant_judge_comes_to_exactly_one_half(constant) -> None:
    first, second = values(constant)
    assert first is not None
    assert second is not None
    assert (1 + (first - second)) / 2 == 0.5


def test_both_orders_are_asked_and_the_value_is_that_of_the_answer_shown_first() -> None:
    verdicts, server = judged(longer)
    assert sorted(map(shown, server.requests)) == [("a longer one", "short"), ("short", "a longer one")]
    assert [verdict.value for verdict in verdicts] == [0.0, 1.0]


def test_log_probabilities_are_renormalised_over_the_labels_and_a_tie_counts_half() -> None:
    def reply(request: Request) -> Said:
        return (
            chances(A=0.6, B=0.2, x=0.2)(request) if longer(request) == "A" else chances(A=0.2, B=0.4, C=0.2)(request)
        )

    short, long = values(reply)
    assert long == pytest.approx(0.6 / 0.8)
    assert short == pytest.approx((0.2 + 0.1) / 0.8)


def test_labels_with_less_than_half_of_the_probability_are_no_verdict() -> None:
    verdicts, _ = judged(chances(A=0.3, B=0.19, I=0.5))
    assert [verdict.value for verdict in verdicts] == [None, None]
    assert "a probability of 0.49, less than 0.5; asked once more: " in verdicts[0].reason


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("A", "B", [1.0, 0.0]), ("A", "A", [1.0, 1.0]), ("A", "C", [0.75, 0.75]), ("C", "C", [0.5, 0.5]),
     ("B", "C", [0.25, 0.25])],
)  # fmt: skip
def test_two_orders_that_disagree_in_words_make_a_tie(first: str, second: str, expected: list[float]) -> None:
    assert values(lambda request: first if shown(request)[0] == "short" else second) == expected


def test_of_several_answers_each_is_compared_with_all_others() -> None:
    three = [answer("x" * count, index=count) for count in (1, 2, 3)]
    verdicts, server = judged(longer, *three, answer("alone", "another prompt"))
    assert [verdict.value for verdict in verdicts] == [0.0, 0.5, 1.0, None]
    assert verdicts[-1].reason == "there is no other answer to its prompt to compare it with"
    assert server.answered == 6


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("A", 1.0), (" b. ", None), ("B.", 0.0), ("[[C]]", 0.5), ("I like A. [[B]]", 0.0), ("[[A]] no, [[B]]", 0.0),
        ("Verdict: A", 1.0), ("A good answer", None), ("", None), ("A or B", None), ("[[D]]", None),
        ("**Verdict:** B\n", 0.0),
    ],
)  # fmt: skip
def test_the_last_label_of_a_reply_counts(reply: str, value: float | None) -> None:
    found = read_label(reply, LABEL)
    assert found == value or (value is None and isinstance(found, str))


def test_what_cannot_be_read_is_asked_once_more_with_the_reply_before_it() -> None:
    verdicts, server = judged(lambda request: longer(request) if len(request["messages"]) > 1 else "Hard to say.")
    assert [verdict.value for verdict in verdicts] == [0.0, 1.0]
    again = server.requests[-1]["messages"]
    assert [message["role"] for message in again] == ["user", "assistant", "user"]
    assert again[1]["content"] == "Hard to say."
    assert again[2]["content"] == "Reply with one label, A, B or C, and nothing else."


def test_one_order_without_a_verdict_leaves_both_answers_without_one() -> None:
    verdicts, server = judged(lambda request: "A" if shown(request)[0] == "short" else "\x1b[31mno")
    assert [verdict.value for verdict in verdicts] == [None, None]
    assert "the judge gave no verdict: '\\x1b[31mno'; asked once more" in verdicts[0].reason
    assert server.answered == 3


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_reply_makes_an_answer_disappear(name: str) -> None:
    with FakeServer(lambda request: HOSTILE[name] if shown(request)[0] == "short" else "B") as server:
        endpoint = Endpoint(url=server.url, model="fake", key_variable="", retries=0, concurrent=1)
        verdicts = list(ApiJudge(endpoint=endpoint).score(PAIR, {}, FakeTrainer()))
    assert [verdict.answer for verdict in verdicts] == [each.id for each in PAIR]
    assert all(verdict.reason if verdict.value is None else 0 <= verdict.value <= 1 for verdict in verdicts)


def test_answers_that_failed_are_not_sent() -> None:
    from dataclasses import replace

    verdicts, server = judged(longer, replace(PAIR[0], finish="failed", reason="broken"), PAIR[1])
    assert [verdict.value for verdict in verdicts] == [None, None]
    assert verdicts[0].reason == "the answer failed: broken"
    assert not server.requests


def test_a_reason_comes_before_the_verdict_as_an_object_or_in_words() -> None:
    def reply(request: Request) -> str:
        if "response_format" in request:
            return f'{{"reason": "[[C]] is for cowards", "verdict": "{longer(request)}"}}'
        return f"It may be [[C]], but no: [[{longer(request)}]]"

    for refuses in ((), ("response_format",)):
        verdicts, server = judged(reply, reason_tokens=100, refuses=refuses)
        assert [verdict.value for verdict in verdicts] == [0.0, 1.0]
        assert server.requests[0]["max_tokens"] == 116
    schema = server.requests[0]["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["reason", "verdict"]
    _, server = judged(reply, reason_tokens=100, structured=False)
    assert not any("response_format" in request for request in server.requests)


def test_several_samples_are_asked_each_for_itself_and_averaged() -> None:
    count = 0

    def reply(request: Request) -> str:
        nonlocal count
        count += 1
        return "A" if count % 2 else "B"

    with FakeServer(reply) as server:
        endpoint = Endpoint(url=server.url, model="fake", key_variable="", concurrent=1)
        found = ApiJudge(endpoint=endpoint, samples=4, temperature=1.0).score(PAIR, {}, FakeTrainer())
        assert [verdict.value for verdict in found] == [0.5, 0.5]
    assert server.answered == 8


# Scores.


def test_scores_are_read_as_the_local_judge_reads_them() -> None:
    replies = {"short": "70", "a longer one": "700"}

    def reply(request: Request) -> str:
        text = request["messages"][0]["content"].partition("[Answer]\n")[2]
        return replies[text.partition("\n[End")[0]]

    verdicts, server = judged(reply, mode="score")
    assert [verdict.value for verdict in verdicts] == [70.0, None]
    assert verdicts[1].reason.startswith("the judge gave 700, which is not from 0 to 100: '700'; asked once more")
    assert not any("logprobs" in request for request in server.requests)
    judge = ApiJudge(endpoint=NOWHERE, mode="score")
    assert not pairwise(judge)
    assert pairwise(ApiJudge(endpoint=NOWHERE))
    assert (unit_of(judge), unit_of(ApiJudge(endpoint=NOWHERE))) == ("points", "score")


@pytest.mark.parametrize("reply", ["Thin.\n70", "Of 3 facts 2 hold.\nScore: 70", '{"reason": "2 of 3", "verdict": 70}'])
def test_a_score_after_its_reason_is_read(reply: str) -> None:
    assert values(lambda request: reply, mode="score", reason_tokens=50) == [70.0, 70.0]


def test_a_cut_reply_has_no_score() -> None:
    verdicts, _ = judged(lambda request: FakeReply(text="7", finish="length"), mode="score")
    assert {verdict.value for verdict in verdicts} == {None}


# What is said of the judge, and what enters fingerprints.


def test_the_note_counts_disagreement_position_bias_and_missing_verdicts() -> None:
    answers = [answer("x" * size, f"p{i}", size) for i in range(4) for size in (1, 2)]

    def reply(request: Request) -> str:
        text = request["messages"][0]["content"]
        return "A" if "p0\n" in text else "what?" if "p1\n" in text else longer(request)

    verdicts, _ = judged(reply, *answers)
    found = ApiJudge(endpoint=NOWHERE).note_on(answers, verdicts)
    assert found is not None
    note, sentence = found
    assert (note.compared, note.answers_without_verdict) == (3, 2)
    assert note.orders_disagree == pytest.approx(1 / 3)
    assert note.first_shown_wins == pytest.approx((1 + 1 + 0 + 1 + 0 + 1) / 6)
    assert sentence == (
        "some-judge: compared 3 pairs of answers; the two orders disagree on 33.3%, the answer shown first wins 66.7% "
        "(50% without a position bias); 2 answers have no verdict"
    )


def test_fingerprints_hold_address_model_and_template_but_nothing_of_cost(tmp_path: Path) -> None:
    known = known_by(ApiJudge(endpoint=NOWHERE))
    assert known["endpoint"] == {"url": NOWHERE.url, "model": "some-judge"}
    dear = Endpoint(url=NOWHERE.url, model="some-judge", most_requests=7, retries=1, key_variable="OTHER")
    assert known_by(ApiJudge(endpoint=dear)) == known
    read = recipe.read(write_recipe(tmp_path), SETTINGS)
    assert "[Answer A]" in read.scorer.template  # type: ignore[attr-defined]
    (tmp_path / "again.toml").write_text(recipe_text(read))
    assert recipe.read(tmp_path / "again.toml").scorer == read.scorer


SETTINGS = [
    "scorer.kind=api_judge",
    'scorer.endpoint={url = "http://127.0.0.1:9/v1", model = "some/Qwen3-judge", key_variable = ""}',
]


def test_templates_and_samples_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must have exactly \{first\}, \{prompt\}, \{second\}"):
        ApiJudge(endpoint=NOWHERE, template="{prompt} {answer}")
    with pytest.raises(ValueError, match="at temperature 0 all replies are the same"):
        ApiJudge(endpoint=NOWHERE, samples=3)


# A run and its plan.


def test_a_run_is_judged_and_says_what_it_thinks_of_its_judge(tmp_path: Path) -> None:
    with FakeServer(longer) as server:
        path = write_recipe(tmp_path, "dnpo", scorer={"kind": "api_judge"})
        path.write_text(path.read_text().replace("threshold = 0.0\n", "", 1))
        endpoint = f'scorer.endpoint={{url = "{server.url}", model = "fake", key_variable = ""}}'
        heard = run(path, tmp_path / "run", endpoint)
        asked = server.answered
        again = run(path, tmp_path / "run", endpoint)
        assert server.answered == asked > 0
    told = [said for said in heard.said if "the two orders disagree on 0.0%" in said]
    assert len(told) == 1  # the first iteration is plain SPIN
    assert not [said for said in again.said if "orders" in said]
    notes = summary(tmp_path / "run")["iterations"][2]["notes"]
    assert notes["orders_compared"] == {
        "compared": 10,
        "orders_disagree": 0,
        "first_shown_wins": 0.5,
        "answers_without_verdict": 0,
    }


def test_check_prices_a_judge_behind_a_server_and_says_what_it_cannot_see(tmp_path: Path) -> None:
    found = plan(recipe.read(write_recipe(tmp_path, "sampling_ranking"), SETTINGS))
    (scores,) = [stage for stage in found.stages if stage.name == SCORES]
    assert scores.mean.hours == 0
    assert scores.mean.tokens > 0
    assert found.memory["scoring"] is not None
    requests = sum(stage.rows for stage in found.stages if stage.name.endswith("/answer-scores"))
    assert f"about {requests:,} requests to servers, beside what a judge must be asked twice" in found.notes
    assert any(note.startswith("some/Qwen3-judge at http://127.0.0.1:9/v1 is not contacted") for note in found.notes)


def test_a_missing_key_stops_check_and_run_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    read = recipe.read(write_recipe(tmp_path), [*SETTINGS, "scorer.endpoint.key_variable=NO_SUCH_KEY"])
    with pytest.raises(ValueError, match="the environment variable NO_SUCH_KEY holds no key"):
        plan(read)
    with pytest.raises(ValueError, match="the environment variable NO_SUCH_KEY holds no key"):
        run(tmp_path / "recipe.toml", tmp_path / "run", *SETTINGS, "scorer.endpoint.key_variable=NO_SUCH_KEY")
    assert not (tmp_path / "run" / "stages").exists()


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("Skywork/Skywork-Reward-V2-Qwen3-0.6B", "Skywork/Skywork-Reward-V2-Qwen3-8B", {"skywork", "qwen"}),
        ("Qwen/Qwen2.5-14B-Instruct", "Skywork/Skywork-Reward-V2-Qwen3-8B", {"qwen"}),
        ("RLHFlow/ArmoRM-Llama3-8B-v0.1", "Skywork/Skywork-Reward-V2-Qwen3-8B", set()),
        ("llm-blender/PairRM-hf", "Skywork/Skywork-Reward-V2-Qwen3-8B", set()),
        ("gpt-4o-mini", "gpt-5.1", {"gpt"}),
        ("meta-llama/Llama-3.1-8B", "Skywork/Skywork-Reward-V2-Llama-3.1-8B", {"llama"}),
        ("dolphin-2", "microsoft/phi-4", set()),
    ],
)
def test_families_are_read_from_names(one: str, other: str, shared: set[str]) -> None:
    assert family(one) & family(other) == shared


def test_a_folders_family_is_its_architecture(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    assert family(str(tmp_path)) == {"qwen"}


def test_check_says_when_the_judge_of_choice_reports(tmp_path: Path) -> None:
    def notes(*more: str) -> list[str]:
        read = recipe.read(write_recipe(tmp_path), [*SETTINGS, *more])
        assert len(server_notes(read)) >= 1
        return report_notes(read, [read.scorer])

    reports = "benchmark.scorer={kind = 'reward_model', path = '%s'}"
    assert notes() == []
    assert "are of one family (qwen)" in notes(reports % "Skywork/Skywork-Reward-V2-Qwen3-8B")[0]
    assert notes(reports % "RLHFlow/ArmoRM-Llama3-8B-v0.1") == []
    same = "benchmark.scorer={kind = 'reward_model', path = 'some/Qwen3-judge'}"
    assert notes(same)[0].startswith("some/Qwen3-judge chooses pairs and reports results")


@pytest.mark.parametrize("name", ["synpo-mistral-7b", "synpo-llama3-8b"])
def test_the_papers_recipes_choose_with_another_family_than_they_report_with(name: str) -> None:
    read = recipe.read(recipe.shipped()[name])
    assert report_notes(read, [read.scorer]) == []
    assert not any("reports on the held-out" in remark for remark in read.method.remarks())
    assert read.method.search.by == "scorer"  # type: ignore[attr-defined]
