"""What SynPO and its baselines share: one line switches, too few pairs call for more prompts, nothing is silent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fake_recipes import PROMPTS, Heard, run, summary, write_recipe
from selfboost import plugins, recipe, store
from selfboost.engines.fake import is_good
from selfboost.methods.parts.synthetic_preferences import SyntheticPreferences
from selfboost.records import Answer, Example, Model, Pair, Verdict, content_hash
from selfboost.train import Trainer

KINDS = [kind for kind in plugins.kinds("method") if issubclass(plugins.load("method", kind), SyntheticPreferences)]
FAMILY = [kind for kind in KINDS if kind not in ("iterative_dpo", "cream", "temporal_self_rewarding")]
"""Those that the paper compares; the others share their parts and have defaults of their own."""
STRICT: dict[str, Any] = {"method__filter": {"threshold": 6.0}}
"""A gap that few pairs of the fake engine have."""


@dataclass(frozen=True, kw_only=True)
class Duel:
    """A pairwise scorer: A over B by one where A is good and B is not; a lone answer has no value."""

    pairwise: ClassVar[bool] = True
    threshold: float = 2.0

    def needs(self) -> Mapping[str, str]:
        return {}

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        for i, answer in enumerate(answers):
            others = [a for a in answers[max(0, i - 1) : i + 2] if a is not answer and a.prompt.id == answer.prompt.id]
            wins = [_good(answer) - _good(other) for other in others]
            value = sum(wins) / len(wins) if wins else None
            yield Verdict(answer=answer.id, scorer="duel", value=value, reason="" if wins else "alone")


def _good(answer: Answer) -> int:
    return int(is_good("asked", answer.text) is not False)


def told(tmp_path: Path, method: str = "synpo", /, **sections: Any) -> tuple[Path, Heard, list[dict[str, Any]]]:
    root = tmp_path / "run"
    heard = run(write_recipe(tmp_path, method, **sections), root, trust=__name__)
    return root, heard, summary(root)["iterations"]


def rows(root: Path, stage: str, kind: type[Any]) -> list[Any]:
    card = store.read_card(root / "stages" / stage)
    assert card is not None, stage
    return store.read_rows(root, card, kind)


def test_the_family_is_what_the_paper_compares() -> None:
    assert {"synpo", "sampling_ranking", "self_rewarding"} == set(FAMILY)


@pytest.mark.parametrize("kind", [*FAMILY, "seed_sft", "seed_po", "seed_sft_po", "manual_data"])
def test_one_line_switches_between_them(kind: str) -> None:
    """The demo's recipe is every method's: what a method shares with SynPO stays as it was."""
    path = recipe.shipped()["demo"]
    changed = recipe.read(path, [f"method.kind={kind}"])
    original = recipe.read(path)
    assert type(changed.method).__name__.lower() == kind.replace("_", "")
    shared = {f.name for f in fields(changed.method)} & {
        "prompts",
        "pairs",
        "generator",
        "sampling",
        "filter",
        "search",
    }
    assert len(shared) == (6 if kind in FAMILY else {"seed_sft": 0, "manual_data": 2}.get(kind, 3))
    for name in shared:
        assert getattr(changed.method, name) == getattr(original.method, name)
    assert (changed.loss, changed.training, changed.scorer) == (original.loss, original.training, original.scorer)


def test_no_method_has_a_setting_that_is_anothers() -> None:
    has = {kind: {f.name for f in fields(plugins.load("method", kind))} for kind in plugins.kinds("method")}
    assert not has["seed_sft"]
    assert {kind for kind, names in has.items() if "improver" in names} == {"synpo"}
    assert {kind for kind, names in has.items() if "generator" in names} == set(KINDS)
    assert {kind for kind, names in has.items() if "samples" in names} == set(KINDS) - {"synpo"}
    assert {kind for kind, names in has.items() if {"labelling", "noise"} & names} == {"dnpo"}


def test_the_methods_that_write_prompts_write_the_same_and_train_on_equally_many(tmp_path: Path) -> None:
    made: dict[str, list[str]] = {}
    for kind in FAMILY:
        wanted = {} if kind == "synpo" else {"samples": 3}
        root, _, iterations = told(tmp_path / kind, kind, method=wanted | {"prompts": 24, "pairs": 5})
        made[kind] = [answer.text for answer in rows(root, "iteration-1/prompts", Answer)]
        assert [iteration["pairs"] for iteration in iterations] == [0, 5, 10]
    assert made["synpo"] == made["sampling_ranking"] == made["self_rewarding"]


def test_self_rewarding_by_the_scorer_is_sampling_ranking(tmp_path: Path) -> None:
    wanted: dict[str, Any] = {"method__filter": {"threshold": 0.5}, "run": {"iterations": 1}}
    by_scorer, *_ = told(tmp_path / "one", "self_rewarding", method={"judge": "scorer", "prompts": 12}, **wanted)
    ranking, *_ = told(tmp_path / "other", "sampling_ranking", **wanted)
    assert rows(by_scorer, "iteration-1/policy", Pair) == rows(ranking, "iteration-1/policy", Pair)


@pytest.mark.parametrize(("judge", "stage"), [("scorer", "answer-scores"), ("likelihood", "self-scores")])
def test_temporal_self_rewarding_has_one_judge_for_past_present_and_future(
    tmp_path: Path, judge: str, stage: str
) -> None:
    method = {"judge": judge, "anchor": "seed_sft"}
    root, _, iterations = told(tmp_path, "temporal_self_rewarding", method=method, run={"iterations": 1})
    scores: dict[str, list[float]] = {}
    for whose in ("", "anchor-", "future-"):
        for verdict, answer in zip(
            rows(root, f"iteration-1/{whose}{stage}", Verdict),
            rows(root, f"iteration-1/{whose}answers", Answer),
            strict=True,
        ):
            scores.setdefault(f"{whose}{answer.prompt.id}", []).append(verdict.value)
    pairs: list[Pair] = rows(root, "iteration-1/policy", Pair)
    assert iterations[1]["pairs"] == len(pairs) > 0
    for pair in pairs:
        now, past, future = (scores[f"{whose}{pair.prompt.id}"] for whose in ("", "anchor-", "future-"))
        assert (pair.chosen_score, pair.rejected_score) == (max(now + future), min(now + past))


def test_too_few_pairs_call_for_more_prompts(tmp_path: Path) -> None:
    root, heard, iterations = told(tmp_path, method={"prompts": 8, "pairs": 6, "more_prompts": 4.0}, **STRICT)
    lists: list[frozenset[str]] = []
    for t in (1, 2):
        stages = sorted((root / "stages" / f"iteration-{t}").rglob("prompts"))
        assert len(stages) > 1
        found = [rows(root, str(stage.relative_to(root / "stages")), Answer) for stage in stages]
        lists += [frozenset(answer.prompt.origin.keywords) for answers in found for answer in answers]
        notes = iterations[t]["notes"]
        assert notes["prompts"]["counts"]["keyword lists"] == sum(map(len, found)) <= 8 * 5
        counts = notes["filter"]["counts"]
        assert counts["candidates"] == sum(n for why, n in counts.items() if why != "candidates")
        found = {"pass_rate": pytest.approx(counts["kept"] / counts["candidates"], abs=1e-4), "missing_pairs": 0}
        assert notes["pair_yield"] == found
        assert iterations[t]["pairs"] == 6 * t
    assert len(set(lists)) == len(lists), "further lists are new ones, in all iterations"
    assert not [sentence for sentence in heard.said if "wanted pairs" in sentence]


def test_a_run_with_further_batches_can_be_made_longer(tmp_path: Path) -> None:
    """Nothing that was made is made again: each iteration has keyword lists of its own, however many there will be."""
    root, first, _ = told(tmp_path, method={"prompts": 8, "pairs": 6, "more_prompts": 2.0}, **STRICT)
    assert [stage for stage in first.started_stages if "batch-2/prompts" in stage]
    again = run(tmp_path / "recipe.toml", root, "run.iterations=3")
    made = [stage for stage in again.started_stages if not stage.startswith("iteration-3/")]
    assert made == []


def test_at_the_limit_it_says_so_and_trains_on_what_there_is(tmp_path: Path) -> None:
    root, heard, iterations = told(tmp_path, method={"prompts": 8, "pairs": 60, "more_prompts": 0.5})
    assert iterations[1]["notes"]["prompts"]["counts"]["keyword lists"] == 12
    assert [s for s in heard.said if "no more prompts are allowed (method.more_prompts)" in s]
    kept = iterations[1]["notes"]["filter"]["counts"]["kept"]
    assert len(rows(root, "iteration-1/policy", Pair)) == kept < 60
    assert [s for s in heard.said if s.startswith(f"iteration 1: {kept} of the 60 wanted pairs")]


def test_where_nothing_passes_no_more_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"none of 8 candidate pairs was kept \(score gap below the threshold: 8\); lower method.filter.threshold",
    ):
        told(tmp_path, method={"prompts": 8, "pairs": 6, "more_prompts": 4.0}, method__filter={"threshold": 1e6})
    assert not (tmp_path / "run" / "stages" / "iteration-1" / "batch-2").exists()


def test_no_more_prompts_where_none_are_allowed(tmp_path: Path) -> None:
    _, _, iterations = told(tmp_path, method={"prompts": 8, "pairs": 60, "more_prompts": 0})
    assert [i["notes"]["prompts"]["counts"]["keyword lists"] for i in iterations[1:]] == [8, 8]


@pytest.mark.parametrize("iterations", [1, 4])
def test_a_method_without_iterations_goes_one_round(iterations: int, tmp_path: Path) -> None:
    for kind in ("seed_sft", "seed_po", "seed_sft_po"):
        _, _, rounds = told(tmp_path / kind, kind, run={"iterations": iterations})
        assert [r["iteration"] for r in rounds] == [0, 1]


def test_the_second_answer_and_the_draft_can_take_the_places_of_refined_and_initial(tmp_path: Path) -> None:
    root, _, _ = told(tmp_path, method={"chosen": "resampled", "rejected": "draft"})
    assert not (root / "stages" / "iteration-1" / "improver").exists()
    drafts = {answer.id for answer in rows(root, "iteration-2/drafts", Answer)}
    second = {answer.id for answer in rows(root, "iteration-2/resampled", Answer)}
    for pair in rows(root, "iteration-2/policy", Pair):
        if pair.iteration == 2:
            assert (pair.chosen.id in second, pair.rejected.id in drafts) == (True, True)


def test_prompts_can_be_the_seeds_own(tmp_path: Path) -> None:
    root, heard, _ = told(tmp_path, "sampling_ranking", method={"prompts_from": "seed", "pairs": 100})
    seeds = {e.prompt.text for e in rows(root, "prepare/seed_sft", Example)}
    assert {pair.prompt.text for pair in rows(root, "iteration-2/policy", Pair)} <= seeds
    assert not (root / "stages" / "prepare" / "generator").exists()
    assert not [sentence for sentence in heard.said if "more_prompts" in sentence]


def test_a_share_of_the_pairs_can_prefer_gold(tmp_path: Path) -> None:
    root, _, iterations = told(tmp_path, "sampling_ranking", method={"pairs": 8, "gold_share": 0.25})
    assert [iteration["pairs"] for iteration in iterations] == [0, 8, 16]
    golds = {e.prompt.text: e.answer.text for e in rows(root, "prepare/seed_sft", Example)}
    for number in (1, 2):
        pairs = [pair for pair in rows(root, f"iteration-{number}/policy", Pair) if pair.iteration == number]
        own = {answer.id for answer in rows(root, f"iteration-{number}/own-seed-answers", Answer)}
        anchored = [pair for pair in pairs if pair.rejected.id in own]
        assert (len(pairs), len(anchored)) == (8, 2)
        assert all(pair.chosen.text == golds[pair.prompt.text] for pair in anchored)


def test_without_a_gold_share_nothing_is_sampled_for_it(tmp_path: Path) -> None:
    root, _, _ = told(tmp_path, "sampling_ranking", run={"iterations": 1})
    assert not (root / "stages" / "iteration-1" / "own-seed-answers").exists()


@pytest.mark.parametrize("kind", ["synpo", "sampling_ranking"])
def test_a_pairwise_scorer_judges_answers_beside_each_other(kind: str, tmp_path: Path) -> None:
    root, _, _ = told(
        tmp_path,
        kind,
        scorer={"kind": "test_synthetic_preferences:Duel", "threshold": 2.0},
        method={} if kind == "synpo" else {"samples": 2},
    )
    pairs: list[Pair] = rows(root, "iteration-2/policy", Pair)
    assert pairs
    for pair in pairs:
        assert (_good(pair.chosen), _good(pair.rejected)) == (1, 0)
        assert (pair.chosen_score, pair.rejected_score, pair.gap) == (1.0, -1.0, 2.0)
    if kind == "synpo":  # gold is compared with the policy's own answer, seed by seed
        scored = rows(root, "iteration-1/seed-scores", Verdict)
        assert [v.value for v in scored[::2]] == [-v.value for v in scored[1::2]]


def test_a_pairwise_scorer_cannot_rate_a_model(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, benchmark__scorer={"kind": "test_synthetic_preferences:Duel"})
    with pytest.raises(ValueError, match="Duel: compares answers with each other, so it cannot rate one model"):
        recipe.read(path, ["benchmark.scorer={kind='test_synthetic_preferences:Duel'}"], trust=__name__)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("method.sampling.samples=3", r"sampling.samples = 3: must be 1, one answer to each prompt"),
        ("method.samples=1", r"method.samples: no such setting"),
        ("method.improver.sampling.samples=2", r"improver: sampling.samples = 2: must be 1, one rewrite of a draft"),
        ("method.more_prompts=-1", r"method.more_prompts = -1"),
        ("method.generator.novelty.similarity=0", r"novelty.similarity = 0"),
    ],
)
def test_wrong_settings_are_named(change: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        recipe.read(write_recipe(tmp_path), [change])


def test_prompts_of_a_benchmark_are_kept_away_from(tmp_path: Path) -> None:
    """What the generator would write is given as a benchmark's prompts: none of it is kept."""
    root, _, _ = told(tmp_path / "free")
    kept = [answer.prompt.text for answer in rows(root, "iteration-1/drafts", Answer)]
    away = tmp_path / "away"
    away.mkdir()
    (away / "benchmark.jsonl").write_text("".join(f'{{"prompt": "{text}"}}\n' for text in kept[:10]))
    path = write_recipe(away, method__generator__novelty={"keep_away": ["benchmark.jsonl"]})
    run(path, away / "run")
    left = [answer.prompt.text for answer in rows(away / "run", "iteration-1/drafts", Answer)]
    assert not set(left) & set(kept[:10])
    assert summary(away / "run")["iterations"][1]["notes"]["prompts"]["counts"]["equals a kept-away prompt"] == 10


@pytest.mark.parametrize(
    ("line", "sentence"),
    [("", "absent.jsonl: no such file"), ("not json", "line 1: is not valid JSON"), ("{}", "row 1|line 1")],
)
def test_wrong_files_to_keep_away_from_are_found_before_any_work(line: str, sentence: str, tmp_path: Path) -> None:
    name = "away.jsonl" if line else "absent.jsonl"
    if line:
        (tmp_path / name).write_text(line + "\n")
    path = write_recipe(tmp_path, method__generator__novelty={"keep_away": [name]})
    with pytest.raises(ValueError, match=sentence):
        run(path, tmp_path / "run")
    assert not (tmp_path / "run" / "stages").exists()


def test_others_pairs_are_kept_away_from_a_benchmark_too(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "manual_data")
    (tmp_path / "away.jsonl").write_text(
        '{"question": "What of item 3?"}\n{"turns": ["What of item 4?", "And then?"]}\n'
    )
    run(path, tmp_path / "run", "method.novelty.keep_away=['away.jsonl']")
    counts = summary(tmp_path / "run")["iterations"][1]["notes"]["pairs"]["counts"]
    assert counts == {"kept": 5, "equals a kept-away prompt": 2}


def test_seeds_near_a_measured_prompt_are_said(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    seeds = [f'{{"prompt": "{prompt}"}}' for prompt in PROMPTS]
    (tmp_path / "away.jsonl").write_text("\n".join(seeds) + "\n")
    heard = run(path, tmp_path / "run", "method.generator.novelty.keep_away=['away.jsonl']")
    assert [s for s in heard.said if s.startswith("10 of 10 seeds share words with measured or kept-away prompts")]


def test_seed_sft_po_starts_from_the_tuned_model(tmp_path: Path) -> None:
    root, _, _ = told(tmp_path, "seed_sft_po")
    card = store.read_card(root / "stages" / "iteration-1" / "policy")
    tuned = store.read_card(root / "stages" / "prepare" / "seed_sft")
    assert card is not None
    assert tuned is not None
    assert card.parts["start"] == content_hash([tuned.fingerprint, tuned.known_by])


def test_pairs_name_who_scored_them(tmp_path: Path) -> None:
    for kind, scorer in (("synpo", "implicit(seed_sft/initial)"), ("self_rewarding", "self_rewarding(initial)")):
        root, _, _ = told(tmp_path / kind, kind)
        assert {pair.scorer for pair in rows(root, "iteration-1/policy", Pair)} == {scorer}


def test_an_improver_without_seeds_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"iteration 1: gold beats .* on none of the 10 seeds; lower method.improver.threshold"
    ):
        told(tmp_path, method__improver={"threshold": 1e6})
