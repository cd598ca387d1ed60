"""The judge in words: what counts as a score, whose verdict it is, that no answer's neighbours change it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_models import save_llama
from scored_answers import answer
from transformers import AutoModelForCausalLM, AutoTokenizer

from fake_recipes import results, run, write_recipe
from selfboost import recipe, store
from selfboost.engines import Generation
from selfboost.engines.fake import Fake, FakeSampler, read_fake
from selfboost.engines.local import Local
from selfboost.plan import plan
from selfboost.plan.hardware import KINDS, LAUNCH
from selfboost.plan.model_size import from_parameters
from selfboost.recipe_text import known_by, recipe_text
from selfboost.records import Message, Model, Origin, Prompt, Sampling, Verdict
from selfboost.scorers.judge import PROMPT, Judge
from selfboost.train.fake import Fake as FakeTrainer

MODEL = Model(name="initial", path="fake", fingerprint="0123456789abcdef")
SHORT = "{prompt} of {lowest} {highest} | {answer}"
SAMPLED = Sampling(temperature=1.0, max_tokens=16, samples=3)


@dataclass(frozen=True, kw_only=True)
class Echo(Fake):
    """Replies with the answer it is to judge; of several, apart by `|`, with the one that its seed picks."""

    calls: list[list[str]] = field(default_factory=list)
    """What it was asked, call by call."""
    opened: list[str] = field(default_factory=list)

    @contextmanager
    def open(self, model: Model) -> Iterator[FakeSampler]:
        self.opened.append(model.path)
        yield EchoSampler(read_fake(model.path), self)


class EchoSampler(FakeSampler):
    def __init__(self, model, engine: Echo) -> None:
        super().__init__(model, engine)
        self.calls = engine.calls

    def sample(self, requests) -> Iterator[tuple[int, Generation]]:
        self.calls.append([self.tokenizer.text(request.prompt_ids) for request in requests])
        return super().sample(requests)

    def _generation(self, request) -> Generation:
        if len(request.prompt_ids) >= self.context_length:
            return super()._generation(request)
        choices = self.tokenizer.text(request.prompt_ids).split(" | ", 1)[1].split("|")
        whole = self.tokenizer.answer_ids(choices[request.seed % len(choices)])
        ids = whole[: request.sampling.max_tokens]
        return Generation(token_ids=ids, logps=(0.0,) * len(ids), finish="stop" if ids == whole else "length")


def judged(answers, engine=None, model: Model = MODEL, **settings) -> list[Verdict]:
    judge = Judge(engine=engine or Fake(), **settings)
    return list(judge.score(answers, {"judge": model}, FakeTrainer()))


def echoed(*replies: str, engine: Echo | None = None, **settings) -> list[Verdict]:
    """Verdicts on these replies of the judge."""
    return judged([answer(reply) for reply in replies], engine or Echo(), template=SHORT, **settings)


def test_verdicts_are_in_order_and_faulty_answers_are_not_judged() -> None:
    empty = replace(answer(""), token_ids=())
    failed = replace(empty, finish="failed", reason="no room")
    given = [failed, answer("a poor one"), empty, answer("a good one"), answer("gold"), failed]
    found = judged(given)
    assert [v.answer for v in found] == [a.id for a in given]
    faults = ["the answer failed: no room", "", "the answer is empty", "", "", "the answer failed: no room"]
    assert [v.reason for v in found] == faults
    assert [v.value is None for v in found] == [bool(fault) for fault in faults]
    assert 0 <= found[1].value <= 50 <= found[3].value <= 100
    engine = Echo()
    echoed("7", "8", engine=engine)
    judged([empty, failed], engine, replace(MODEL, path="there/is/none"))
    assert engine.opened == ["fake"]  # once for all answers, not at all for none
    assert judged([]) == []


@pytest.mark.parametrize(
    ("reply", "value"),
    [("85", 85), ("0", 0), ("100", 100), (" 72.5\n", 72.5), ("85.", 85), ("+3", 3), ("007", 7), ("-0", 0)],
)
def test_a_bare_number_is_the_score(reply: str, value: float) -> None:
    (verdict,) = echoed(reply)
    assert (verdict.value, verdict.reason) == (value, "")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("85 out of 90 and 70", "the judge gave no score: '85 out of 90 and 70'"),
        ("85/100", "the judge gave no score: '85/100'"),
        ("Score: 85", "the judge gave no score: 'Score: 85'"),
        ("85 70", "the judge gave no score: '85 70'"),
        ("8 5", "the judge gave no score: '8 5'"),
        ("85%", "the judge gave no score: '85%'"),
        ("nan", "the judge gave no score: 'nan'"),
        ("1e1", "the judge gave no score: '1e1'"),
        ("eighty", "the judge gave no score: 'eighty'"),
        ("", "the judge gave no score: ''"),
        ("2024", "the judge gave 2024, which is not from 0 to 100: '2024'"),
        ("-5", "the judge gave -5, which is not from 0 to 100: '-5'"),
        ("100.5", "the judge gave 100.5, which is not from 0 to 100: '100.5'"),
        ("x" * 200, f"the judge gave no score: '{'x' * 80}…'"),
    ],
)
def test_all_else_is_no_score_but_a_reason(reply: str, reason: str) -> None:
    found = echoed("50", reply, judging=Sampling(temperature=0, max_tokens=500))
    assert [v.value for v in found] == [50, None]
    assert found[1].reason == reason


def test_a_reply_that_was_cut_may_lack_a_digit() -> None:
    found = echoed("100", "99", judging=Sampling(temperature=0, max_tokens=3))
    assert [v.value for v in found] == [None, 99]  # the end of its turn is a token too
    assert found[0].reason == "the judge's reply was cut at 3 tokens: '100'"


def test_a_stop_text_is_no_part_of_a_reply() -> None:
    (verdict,) = echoed("64\nbecause", judging=Sampling(temperature=0, stop=("\n",)))
    assert verdict.value == 64


def test_a_prompt_that_the_judge_cannot_hold_is_a_reason() -> None:
    found = echoed("50", "9" * 100, engine=Echo(context_length=60))
    assert [v.value for v in found] == [50, None]
    assert re.fullmatch(r"the judge failed: the prompt's \d+ tokens leave no room in 60", found[1].reason)


def test_a_pattern_of_ones_own_must_match_exactly_once() -> None:
    replies = ("It is clear. Score: 7", "Score: 7, no, Score: 8", "7", "Score: none")
    found = echoed(*replies, number=r"Score: (\w+)", highest=10, judging=Sampling(temperature=0))
    assert [v.value for v in found] == [7, None, None, None]
    assert [v.reason.partition(":")[0] for v in found] == [
        "",
        *(f"the judge gave {n}" for n in ("2 scores", "no score", "no number")),
    ]
    (verdict,) = echoed("seven", number=r"seven|(\d)")
    assert verdict.reason == "the judge gave no number: 'seven'"


def test_the_scale_is_inclusive_and_ones_own() -> None:
    found = echoed("-1", "1", "-1.01", "1.01", lowest=-1, highest=1)
    assert [v.value for v in found] == [-1, 1, None, None]


def test_of_several_samples_the_mean_counts_if_each_is_a_score() -> None:
    engine = Echo()
    many = [answer("10|40", index=index) for index in range(40)]
    values = [v.value for v in judged(many, engine, template=SHORT, judging=SAMPLED)]
    assert set(values) == {10, 20, 30, 40}  # the means of three tens and forties
    assert [len(call) for call in engine.calls] == [63, 57]  # 3 of each answer, at most 64 at once
    for verdict in judged([answer("10|ten", index=i) for i in range(20)], Echo(), template=SHORT, judging=SAMPLED):
        if verdict.value is None:
            assert re.fullmatch(r"[123] of 3 replies: the judge gave no score: 'ten'", verdict.reason)
        else:
            assert (verdict.value, verdict.reason) == (10, "")


@pytest.mark.parametrize("judging", [Sampling(temperature=0, max_tokens=16), SAMPLED])
def test_no_neighbour_changes_a_verdict(judging: Sampling) -> None:
    words = ("good", "poor", "gold")
    given = [answer(f"{words[i % 3]} {i}" if i % 7 else "", f"prompt {i // 3}", i) for i in range(150)]
    given = [a if a.text else replace(a, token_ids=()) for a in given]
    whole = judged(given, judging=judging)
    assert len({v.value for v in whole}) > 20
    assert judged(given, judging=judging) == whole
    for done in (1, 20, 21, 22, 63, 64, 65, 149):  # as a resumed scoring does
        assert judged(given[:done], judging=judging) + judged(given[done:], judging=judging) == whole
    assert judged(given[::-1], judging=judging) == whole[::-1]


def test_verdicts_come_as_chunks_finish() -> None:
    engine = Echo()
    judge = Judge(engine=engine, template=SHORT)
    stream = judge.score([answer("5", index=i) for i in range(200)], {"judge": MODEL}, FakeTrainer())
    assert next(stream).value == 5
    assert [len(call) for call in engine.calls] == [64]
    assert len(list(stream)) == 199
    assert [len(call) for call in engine.calls] == [64, 64, 64, 8]


def test_the_judge_reads_the_whole_conversation_the_answers_prefix_and_the_scale() -> None:
    turns = (("system", "Be {brief}."), ("user", "A fruit?"), ("assistant", "A lemon."), ("user", "Its colour?"))
    asked = Prompt(
        messages=tuple(Message(role=role, content=text) for role, text in turns),
        origin=Origin(source="seed"),
        prefix="4",
    )
    engine = Echo()
    (verdict,) = judged([replace(answer("2"), prompt=asked)], engine, template=SHORT, highest=50)
    assert verdict.value == 42
    conversation = "System: Be {brief}.\n\nUser: A fruit?\n\nAssistant: A lemon.\n\nUser: Its colour?"
    assert engine.calls == [[f"{conversation} of 0 50 | 42"]]
    echoed("1", engine=engine)
    assert engine.calls[1] == ["say it of 0 100 | 1"]


def name(model: Model = MODEL, **settings) -> str:
    (verdict,) = judged([answer("good")], model=model, **settings)
    return verdict.scorer


def test_the_verdicts_name_tells_models_prompts_and_scales_apart() -> None:
    assert re.fullmatch(r"judge\(initial@01234567, prompt [0-9a-f]{8}\)", name())
    others = [
        name(template=PROMPT + " "),
        name(highest=10),
        name(path="previous"),
        name(replace(MODEL, fingerprint="other")),
    ]
    assert len({name(), *others}) == 5
    same = [name(number=r"(\d+)"), name(threshold=3), name(judging=SAMPLED)]
    assert {name(), *same} == {name()}
    assert Judge(path="previous").needs() == {"judge": "previous"}


def test_the_shipped_prompt_names_the_papers_criteria() -> None:
    for criterion in ("relevance", "clarity", "accuracy", "completeness"):
        assert criterion in PROMPT.lower()
    assert "one number" in PROMPT


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"template": "{prompt} {answer}"},
            r"template: has the fields answer, prompt; it must have exactly \{answer\}",
        ),
        ({"template": SHORT + "{more}"}, r"template: has the fields .*more"),
        ({"template": SHORT + "{"}, "template: .* write a literal brace twice"),
        ({"template_file": "there/is/none.txt"}, r"there/is/none\.txt: cannot be read"),
        ({"template_file": "some.txt", "template": SHORT}, "template_file = 'some.txt': give it or template, not both"),
        ({"number": "("}, r"number = '\(': is not a valid regular expression"),
        ({"number": r"\d+"}, "must have a group that captures the score"),
        ({"lowest": 5, "highest": 5}, "lowest = 5: must be below highest = 5, both finite"),
        ({"highest": float("inf")}, "lowest = 0.0: must be below highest = inf, both finite"),
        ({"lowest": float("nan")}, "lowest = nan: must be below"),
        (
            {"judging": Sampling(temperature=0, samples=2)},
            r"judging\.samples = 2: at temperature 0 all replies are the",
        ),
    ],
)
def test_bad_settings_are_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as raised:
        Judge.from_recipe(**settings)
    assert "\n" not in str(raised.value)


def test_a_templates_file_becomes_its_text(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text(SHORT + "\n")
    assert Judge.from_recipe(template_file=str(file)) == Judge(template=SHORT)
    assert known_by(Judge.from_recipe(template_file=str(file)))["template"] == SHORT
    with pytest.raises(ValueError, match="only for recipes; pass its text as template"):
        Judge(template_file=str(file))
    file.write_bytes(b"\xff{prompt}")
    with pytest.raises(ValueError, match="must be a readable text file"):
        Judge.from_recipe(template_file=str(file))


JUDGED = {"scorer": {"kind": "judge"}, "scorer__engine": {"kind": "fake"}}


def test_a_recipe_with_a_judge_is_read_and_written_out_whole(tmp_path: Path) -> None:
    scorer = JUDGED["scorer"] | {"template_file": "mine.txt"}
    (tmp_path / "mine.txt").write_text(SHORT)
    found = recipe.read(write_recipe(tmp_path, **(JUDGED | {"scorer": scorer})))
    assert found.scorer == Judge(template=SHORT, engine=Fake())
    whole = tmp_path / "elsewhere" / "whole.toml"
    whole.parent.mkdir()
    whole.write_text(recipe_text(found))
    assert recipe.read(whole).scorer == found.scorer
    with pytest.raises(ValueError, match=r"engine\.kind = 'fakke': no such engine \(did you mean 'fake'\?\)"):
        recipe.read(write_recipe(tmp_path, **(JUDGED | {"scorer__engine": {"kind": "fakke"}})))


def test_a_run_scores_by_it_once_and_again_when_the_words_change(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "recipe", "sampling_ranking", **JUDGED)
    run(path, tmp_path / "run")
    (card,) = [card for card in store.cards(tmp_path / "run") if card.name == "iteration-1/answer-scores"]
    rows = store.read_rows(tmp_path / "run", card, Verdict)
    assert {row.scorer.partition("@")[0] for row in rows} == {"judge(initial"}
    assert card.notes["without a value"] == sum(row.value is None for row in rows) < len(rows)
    before = results(tmp_path / "run")
    assert run(path, tmp_path / "run").started_stages == []
    assert results(tmp_path / "run") == before
    words = path.with_name("mine.txt")
    words.write_text(PROMPT.replace("Weigh", "Count"))
    heard = run(path, tmp_path / "run", "scorer.template_file=mine.txt")
    assert "iteration-1/answer-scores runs again, changed: scorer.template" in heard.said
    words.write_text(PROMPT.replace("Weigh", "Take"))
    assert "iteration-1/answer-scores" in run(path, tmp_path / "run", "scorer.template_file=mine.txt").started_stages


SCORES = "iteration-1/answer-scores"


def hours(parameters: int, read: float, written: float, rows: int) -> float:
    """On an H100, of a batch of 64 or all rows: every step of decoding launches every layer."""
    gpu, layers = KINDS["H100"], from_parameters(parameters).layers
    return (2 * parameters * read / (gpu.share * gpu.peak) + written / min(64, rows) * LAUNCH * layers) / 3600


def test_check_prices_the_judges_prompts_and_replies(tmp_path: Path) -> None:
    models = {"model": {"path": "some/model-1B"}, "engine": {"kind": "local"}, "trainer": {"kind": "local"}}
    scorer = {"kind": "judge", "path": "some/judge-8B"}
    plain = plan(
        recipe.read(write_recipe(tmp_path / "plain", "sampling_ranking", **models, scorer={"kind": "implicit"}))
    )
    judging = {"temperature": 1.0, "samples": 2, "max_tokens": 20}
    path = write_recipe(tmp_path / "judged", "sampling_ranking", **models, scorer=scorer, scorer__judging=judging)
    costly = plan(recipe.read(path))
    assert [(s.name, s.rows) for s in plain.stages if not s.name.startswith("prepare/seed_sft")] == [
        (s.name, s.rows) for s in costly.stages
    ]
    (before,) = [s for s in plain.stages if s.name == SCORES]
    (after,) = [s for s in costly.stages if s.name == SCORES]
    for one, other in ((before.mean, after.mean), (before.most, after.most)):
        read = 2 * (one.tokens + after.rows * len(PROMPT) / 4)
        written = 2 * after.rows * 20
        assert other.tokens == pytest.approx(read + written, abs=2)
        assert other.hours == pytest.approx(hours(8 * 10**9, read, written, after.rows), rel=1e-3)
    memory = costly.memory["scoring"]
    assert memory is not None
    assert memory > 2 * 8e9  # weights in bfloat16, and a cache
    assert any(note.startswith("some/judge-8B (scorer) is not on this machine") for note in costly.notes)


@pytest.mark.parametrize("path", ["initial", "previous", "seed_sft"])
def test_check_knows_the_judges_that_a_run_has_or_makes(tmp_path: Path, path: str) -> None:
    models = {"model": {"path": "some/model-1B"}, "engine": {"kind": "local"}}
    scorer = {"kind": "judge", "path": path, "template": SHORT}
    found = plan(recipe.read(write_recipe(tmp_path, "sampling_ranking", **models, scorer=scorer)))
    assert ("prepare/seed_sft" in {s.name for s in found.stages}) == (path == "seed_sft")
    (scores,) = [s for s in found.stages if s.name == SCORES]
    read = scores.mean.tokens - scores.rows * 16
    written = scores.rows * 16
    assert scores.mean.hours == pytest.approx(hours(10**9, read, written, scores.rows), rel=1e-3)  # tokens are whole


WORDS = [answer(f"w{i} w{i + 1}", f"w{2 * i} w3", i) for i in range(24)]


@pytest.fixture(scope="module")
def judge_model(tmp_path_factory) -> Model:
    folder = tmp_path_factory.mktemp("judge")
    save_llama(folder)
    return Model(name="judge", path=str(folder), fingerprint="random")


def first_words(answers, model: Model, **sampling) -> list[Verdict]:
    """The number in the first word that a random model replies with."""
    judging = Sampling(max_tokens=5, stop=(" ",), **sampling)
    engine = Local(device="cpu", dtype="float32", batch_size=4)
    wish = "{prompt} {answer} {lowest} {highest}"
    return judged(answers, engine, model, template=wish, number=r"\Aw([0-9]+)\Z", judging=judging)


def test_a_real_models_verdicts_are_transformers_own_greedy_words(judge_model: Model) -> None:
    found = first_words(WORDS, judge_model, temperature=0)
    tokenizer = AutoTokenizer.from_pretrained(judge_model.path)
    model = AutoModelForCausalLM.from_pretrained(judge_model.path, dtype=torch.float32)
    for given, verdict in zip(WORDS, found, strict=True):
        turns = [{"role": "user", "content": f"{given.prompt.text} {given.text} 0 100"}]
        inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            last_V = model(**inputs).logits[0, -1]
        word = tokenizer.decode(last_V.argmax())
        assert verdict.value == (float(word[1:]) if word.startswith("w") else None)
    assert len({v.value for v in found if v.value is not None}) > 3


def test_a_real_models_verdicts_do_not_depend_on_the_split(judge_model: Model) -> None:
    whole = first_words(WORDS, judge_model, temperature=1.0, samples=2)
    assert len({v.value for v in whole if v.value is not None}) > 10
    for done in (1, 8, 13):
        parts = [first_words(some, judge_model, temperature=1.0, samples=2) for some in (WORDS[:done], WORDS[done:])]
        assert parts[0] + parts[1] == whole
