"""The duel: counted by hand, a constant judge at one half, a model against itself, opponents of every kind."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fake_recipes import Heard, run, summary
from judged_recipes import CHECKS, endpoint, write_judged
from selfboost import recipe
from selfboost.benchmarks.duel import LOOK, Duel
from selfboost.benchmarks.held_out import HeldOut
from selfboost.cli import main
from selfboost.endpoints import Endpoint
from selfboost.endpoints.fake_server import FakeServer, Said
from selfboost.engines.fake import FakeModel, is_good, write_fake
from selfboost.plan import plan
from selfboost.records import Answer, Example, Model, Origin, Prompt, Rated, Sampling, Verdict, user_prompt
from selfboost.run import Run
from selfboost.scorers.api_judge import ApiJudge
from selfboost.scorers.checks import Checks
from selfboost.stages import Silent

Asked = Mapping[str, Any]


def duelling(folder: Path, scorer: Mapping[str, Any], method: str = "seed_sft", **settings: Any) -> Path:
    return write_judged(folder, "duel", url="", method=method, scorer=scorer, **settings)


def api_judge(server: FakeServer) -> dict[str, Any]:
    return {"kind": "api_judge", "endpoint": endpoint(server.url)}


def rows(root: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "stages" / stage / "records.jsonl").open()]


def shown(request: Asked) -> tuple[str, str]:
    text = request["messages"][0]["content"]
    first, second = (text.partition(f"[Answer {label}]\n")[2].partition("\n[End")[0] for label in "AB")
    return first, second


def test_wins_ties_and_losses_are_those_counted_from_the_stored_answers(tmp_path: Path) -> None:
    run(duelling(tmp_path, CHECKS, samples=2), tmp_path / "out")
    own = rows(tmp_path / "out", "iteration-1/held_out-duel")
    theirs = rows(tmp_path / "out", "prepare/duel-held_out")
    rated = rows(tmp_path / "out", "iteration-1/measure-held_out")
    assert len(own) == len(theirs) == 8
    games = []
    for one, other in zip(own, theirs, strict=True):
        a, b = (is_good("asked", each["text"]) for each in (one, other))
        games.append(None if a is None or b is None else 0.5 + (a - b) / 2)
    assert [game for row in rated for game in row["values"]["duel"]] == games
    assert len({game for game in games if game is not None}) > 1, "the test says something"
    means = [known for i in range(4) if (known := [g for g in games[2 * i : 2 * i + 2] if g is not None])]
    found = summary(tmp_path / "out")["iterations"][1]["measures"]
    assert found["duel"]["value"] == pytest.approx(sum(sum(each) / len(each) for each in means) / len(means))
    assert found["won"]["value"] + found["tied"]["value"] + found["lost"]["value"] == pytest.approx(1)
    assert found["score"]["value"] is not None


@pytest.mark.parametrize("label", ["A", "B", "C"])
def test_a_constant_judge_comes_to_exactly_one_half(label: str, tmp_path: Path) -> None:
    with FakeServer(lambda request: label) as server:
        run(duelling(tmp_path, api_judge(server)), tmp_path / "out")
    found = summary(tmp_path / "out")["iterations"][1]
    assert (found["measures"]["duel"]["value"], found["measures"]["tied"]["value"]) == (0.5, 1.0)
    assert found["notes"]["judged_comparison"]["judge"].startswith("api_judge(fake at http://127.0.0.1:")


def test_a_judge_of_pairs_sees_each_pair_in_both_orders_and_no_other_pair(tmp_path: Path) -> None:
    def longer(request: Asked) -> Said:
        first, second = shown(request)
        return "C" if len(first) == len(second) else "A" if len(first) > len(second) else "B"

    with FakeServer(longer) as server:
        run(duelling(tmp_path, api_judge(server), samples=2), tmp_path / "out")
        asked = sorted(map(shown, server.requests))
    own = rows(tmp_path / "out", "iteration-1/held_out-duel") + rows(tmp_path / "out", "iteration-1/validation-duel")
    theirs = rows(tmp_path / "out", "prepare/duel-held_out") + rows(tmp_path / "out", "prepare/duel-validation")
    pairs = [(a["text"], b["text"]) for a, b in zip(own, theirs, strict=True) if a["token_ids"] and b["token_ids"]]
    assert set(asked) == set(pairs) | {(b, a) for a, b in pairs}
    rated = [game for row in rows(tmp_path / "out", "iteration-1/measure-held_out") for game in row["values"]["duel"]]
    wanted = [0.5 + 0.5 * ((len(a) > len(b)) - (len(a) < len(b))) for a, b in pairs[:8]]
    assert [game for game in rated if game is not None] == wanted


def test_a_model_against_itself_ties_and_costs_nothing(tmp_path: Path) -> None:
    with FakeServer(lambda request: "A") as server:
        path = duelling(tmp_path, api_judge(server))
        made = Run(recipe.read(path), tmp_path / "out", Silent())
        made.begin(0, made.initial)
        rated = made.measure(made.initial, "held_out")
        assert server.answered == 0
    assert {row.values["duel"] for row in rated} == {(0.5,)}


def test_missing_verdicts_are_counted_and_bounded(tmp_path: Path) -> None:
    with FakeServer(lambda request: "A" if "item 1" in str(request) else "no idea") as server:
        run(duelling(tmp_path, api_judge(server)), tmp_path / "out")
    rated = rows(tmp_path / "out", "iteration-1/measure-held_out")
    games = [row["values"]["duel"][0] for row in rated]
    note = summary(tmp_path / "out")["iterations"][1]["notes"]["judged_comparison"]
    lost = games.count(None)
    assert 0 < lost < 4
    assert (note["games"], note["missing"], note["win_rate"]) == (4, lost, 0.5)
    assert (note["lowest"], note["highest"]) == (0.5 * (4 - lost) / 4, (0.5 * (4 - lost) + lost) / 4)


@pytest.mark.parametrize("opponent", ["previous", "seed_sft", "gold"])
def test_opponents(opponent: str, tmp_path: Path) -> None:
    with FakeServer(lambda request: "A" if "It is gold" in shown(request)[0] else "B") as server:
        run(duelling(tmp_path, api_judge(server), "spin", opponent=opponent), tmp_path / "out", "run.iterations=1")
    found = summary(tmp_path / "out")["iterations"][1]["measures"]
    if opponent == "gold":
        assert (found["duel"]["value"], found["lost"]["value"]) == (0.0, 1.0)
    else:
        assert found["duel"]["value"] == 0.5


def test_a_folder_as_the_opponent_and_a_second_run_reuses_everything(tmp_path: Path) -> None:
    (tmp_path / "weak").mkdir()
    write_fake(tmp_path / "weak", FakeModel(name="weak", skill=0.0))
    path = duelling(tmp_path, CHECKS, opponent=str(tmp_path / "weak"))
    run(path, tmp_path / "out")
    found = summary(tmp_path / "out")["iterations"][1]["measures"]
    assert found["lost"]["value"] == 0
    again: Heard = run(path, tmp_path / "out")
    assert again.started_stages == []


def test_check_prices_both_sides_and_the_judgments(tmp_path: Path) -> None:
    with FakeServer(lambda request: "A") as server:
        found = plan(recipe.read(duelling(tmp_path, api_judge(server))))
        assert server.requests == []
    stages = {stage.name: (stage.verb, stage.rows) for stage in found.stages}
    assert stages["prepare/duel-held_out"] == ("sample", 4)
    assert stages["iteration-1/held_out-duel-scores"] == ("score", 8)
    assert "iteration-0/held_out-duel-scores" not in stages
    with pytest.raises(ValueError, match=r"benchmark.opponent: 'no/where/x' is not a model on this machine; allowed"):
        plan(recipe.read(duelling(tmp_path, CHECKS, opponent="no/where/x"), []))


def test_outside_a_run_the_opponent_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "weak").mkdir()
    write_fake(tmp_path / "weak", FakeModel(name="weak", skill=0.0))
    asked = ["measure", "fake", "--benchmark", "duel", "--recipe", str(duelling(tmp_path, CHECKS)), "--json"]
    with pytest.raises(SystemExit) as end:
        main([*asked, "--against", str(tmp_path / "weak")])
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out)["lost"]["value"] == 0
    with pytest.raises(SystemExit) as end:
        main(asked)
    assert end.value.code == 2
    assert "benchmark.opponent = 'initial': Duel rates a model against another" in capsys.readouterr().err


def test_gold_must_be_there(tmp_path: Path) -> None:
    made = Run(recipe.read(duelling(tmp_path, CHECKS, opponent="gold")), tmp_path / "out", Silent())
    made.begin(0, made.initial)
    bare = [made.example(made.held_out[0].prompt, made.given(made.held_out[0].prompt, " "))]
    with pytest.raises(
        ValueError, match=r"benchmark.opponent = 'gold': the data have no answer to the prompt 'Compare"
    ):
        made.recipe.benchmark.rate(made, made.initial, bare, "held_out")


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="samples = 3: at temperature 0 all answers are the same"):
        Duel(scorer=Checks(function="selfboost.engines.fake:is_good"), samples=3, temperature=0)
    judge = ApiJudge(endpoint=Endpoint(url="http://127.0.0.1:9/v1", model="m", key_variable=""))
    with pytest.raises(ValueError, match=r"scorer = ApiJudge: compares answers .* or benchmark.kind = 'duel'"):
        HeldOut(scorer=judge)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Gives the first of two answers a value, and the second 0."""

    pairwise: ClassVar[bool] = True
    gap: float
    threshold: float = 0.0

    def needs(self) -> Mapping[str, str]:
        return {}

    def score(self, answers: Sequence[Answer], models: object, trainer: object) -> Iterator[Verdict]:
        for i, each in enumerate(answers):
            yield Verdict(answer=each.id, scorer="gap", value=0.0 if i % 2 else self.gap)


@pytest.mark.parametrize(("gap", "won"), [(0.3, 0.5), (0.31, 1.0), (-0.3, 0.5), (-0.31, 0.0)])
def test_a_margin_makes_ties(gap: float, won: float, tmp_path: Path) -> None:
    made = Run(recipe.read(duelling(tmp_path, CHECKS)), tmp_path / "out", Silent())
    made.begin(0, made.initial)
    benchmark = Duel(scorer=Gap(gap=gap), margin=0.3, opponent="gold")
    rated = benchmark.rate(made, made.initial, made.held_out, "held_out")
    assert {row.values["duel"] for row in rated} == {(won,)}


@dataclass
class Judged:
    """The verbs that a duel needs, with a judge that is always for the same side, or for one side of every game."""

    policy_wins: Sequence[bool]
    stages: dict[str, int] = field(default_factory=dict)
    notes: list[Any] = field(default_factory=list)

    def model(self, name: str) -> Model:
        return Model(name=name, path=name, fingerprint=name)

    def sample(self, name: str, model: Model, prompts: Sequence[Prompt], sampling: Sampling) -> list[Answer]:
        drawn = [(prompt, i) for prompt in prompts for i in range(sampling.samples)]
        texts = {"prompt_ids": (1,), "token_ids": (2,), "finish": "stop"}
        return [Answer(prompt=p, text="x", model=model.name, index=i, **texts) for p, i in drawn]

    def score(self, name: str, answers: Sequence[Answer], scorer: object) -> list[Verdict]:
        del scorer
        self.stages[name] = len(answers) // 2
        wins = {a.prompt.id: won for a, won in zip(self.first, self.policy_wins, strict=True)}
        return [
            Verdict(answer=a.id, scorer="judge", value=float((at % 2 == 0) == wins[a.prompt.id]))
            for at, a in enumerate(answers)
        ]

    def note(self, note: Any) -> None:
        self.notes.append(note)

    def rated(self, duel: Duel, split: str = "held_out") -> list[Rated]:
        prompts = [user_prompt(f"question {i}", Origin(source=split)) for i in range(len(self.policy_wins))]
        policy = self.model("policy")
        self.first = self.sample("", policy, prompts, Sampling())
        examples = [Example(prompt=a.prompt, prompt_ids=(1,), answer=a) for a in self.first]
        return list(duel.rate(self, policy, examples, split))  # pyright: ignore[reportArgumentType]


def stopping(samples: int = 1) -> Duel:
    return Duel(scorer=Checks(function="selfboost.engines.fake:is_good"), stop_early=0.05, samples=samples)


@pytest.mark.parametrize(("wins", "finding"), [(True, "better"), (False, "worse")])
@pytest.mark.parametrize("samples", [1, 2])
def test_the_judge_is_asked_no_further_once_the_winner_is_clear(wins: bool, finding: str, samples: int) -> None:
    run = Judged([wins] * 200)
    rated = run.rated(stopping(samples))
    stopped, outcomes = run.notes
    assert (stopped.asked, stopped.prompts, stopped.policy, stopped.level) == (LOOK, 200, finding, 0.05)
    known = [row.values["duel"] for row in rated if None not in row.values["duel"]]
    assert known == [(float(wins),) * samples] * LOOK
    assert sum(run.stages.values()) == LOOK * samples
    assert (outcomes.games, outcomes.missing, outcomes.win_rate) == (LOOK * samples, 0, float(wins))


def test_all_prompts_are_judged_where_no_winner_is_clear_and_where_a_gate_decides() -> None:
    even = Judged([i % 2 == 0 for i in range(100)])
    rated = even.rated(stopping())
    assert [row.values["duel"][0] for row in rated] == [float(i % 2 == 0) for i in range(100)]
    assert (even.notes[0].asked, even.notes[0].policy) == (100, "open")
    decided = Judged([True] * 100)
    assert all(row.values["duel"] == (1.0,) for row in decided.rated(stopping(), "validation"))


def test_a_plan_counts_every_judgment_of_a_duel_that_may_stop(tmp_path: Path) -> None:
    path = duelling(tmp_path, CHECKS, stop_early=0.05)
    found = {stage.name: stage.rows for stage in plan(recipe.read(path)).stages}
    assert found["iteration-1/held_out-duel-scores"] == 8
