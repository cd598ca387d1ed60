"""One golden run per method on the fake engine, and what it must say by the method's paper."""

import os
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from story import Story

from fake_recipes import METHODS, run, summary, write_recipe
from selfboost import plugins
from selfboost.records import Answer, Example, Pair, Prompt, Verdict

HERE = Path(__file__).parent
ITERATIONS = 4
OWN = "iteration-1/own-answers"
_KEEP = TemporaryDirectory()


@cache
def told(method: str) -> Story:
    """The golden run of a method, made once per process."""
    folder = Path(_KEEP.name) / method
    heard = run(write_recipe(folder, method, run={"iterations": ITERATIONS, "beside": ["seed_sft"]}), folder / "run")
    return Story(folder / "run", heard.started_stages, summary(folder / "run"))


def policy(iteration: int) -> str:
    """The stage that made the policy an iteration ended with."""
    return f"iteration-{iteration}/policy" if iteration else "initial"


def makers(story: Story, pairs: list[Pair], side: str) -> Counter[str]:
    """Who wrote the chosen, or the rejected, side."""
    return Counter(story.who(getattr(pair, side).model) for pair in pairs)


def test_every_method_has_a_golden_run() -> None:
    assert plugins.kinds("method").keys() == METHODS.keys() == {path.stem for path in HERE.glob("*.txt")}


@pytest.mark.parametrize("method", METHODS)
def test_the_run_is_the_golden_one(method: str) -> None:
    path, text = HERE / f"{method}.txt", told(method).text()
    if os.environ.get("SELFBOOST_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), "a change that is meant: SELFBOOST_UPDATE_GOLDEN=1 writes it anew"
    assert _KEEP.name not in text


@pytest.mark.parametrize("method", METHODS)
def test_the_same_recipe_in_another_folder_is_the_same_run(method: str, tmp_path: Path) -> None:
    heard = run(write_recipe(tmp_path, method, run={"iterations": 1, "beside": []}), tmp_path / "run")
    again = Story(tmp_path / "run", heard.started_stages, summary(tmp_path / "run"))
    for name in again.order:
        same = told(method).cards[name]
        assert (again.cards[name].fingerprint, again.cards[name].files) == (same.fingerprint, same.files), name


@pytest.mark.parametrize("t", range(1, ITERATIONS + 1))
def test_synpo_iteration_follows_algorithm_1(t: int) -> None:
    story = told("synpo")
    # R_t from M_0, on the rewrites of what M_{t-1} answered to the seeds, target gold.
    assert story.answered(f"iteration-{t}/seed-answers") == policy(t - 1)
    assert story.start(f"iteration-{t}/improver") == "initial"
    examples: list[Example] = story.rows(f"iteration-{t}/improver", Example)
    own = {answer.id: answer for answer in story.rows(f"iteration-{t}/seed-answers", Answer)}
    for example in examples:
        assert own[example.prompt.origin.parent].text in example.prompt.text
        assert own[example.prompt.origin.parent].prompt == example.answer.prompt
        assert example.answer.model == "given"
    # Prompts by G, drafts by M_{t-1}, chosen by R_t, rejected by M_0; SimPO from M_0 on all pairs so far.
    assert story.answered(f"iteration-{t}/prompts") == "prepare/generator"
    assert story.answered(f"iteration-{t}/drafts") == policy(t - 1)
    assert story.answered(f"iteration-{t}/refined") == f"iteration-{t}/improver"
    assert story.answered(f"iteration-{t}/initial-answers") == "initial"
    pairs: list[Pair] = story.rows(policy(t), Pair)
    assert makers(story, pairs, "chosen") == {f"iteration-{s}/improver": 6 for s in range(1, t + 1)}
    assert makers(story, pairs, "rejected") == {"initial": 6 * t}
    assert (story.start(policy(t)), story.reference(policy(t))) == ("initial", "none")


def test_synpo_trains_its_generator_once_from_the_initial_model_on_the_seeds() -> None:
    story = told("synpo")
    assert [name for name in story.order if name.endswith("generator")] == ["prepare/generator"]
    assert story.start("prepare/generator") == "initial"
    for example in story.rows("prepare/generator", Example):
        own = [word for word in example.prompt.origin.keywords if word in example.answer.text.lower()]
        assert len(own) >= 2
        assert "It is gold" in example.answer.text


def test_synpo_accumulates_pairs_and_never_writes_a_prompt_twice() -> None:
    story = told("synpo")
    kept = [[pair.id for pair in story.rows(policy(t), Pair)] for t in range(1, ITERATIONS + 1)]
    assert [len(ids) for ids in kept] == [6, 12, 18, 24]
    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(kept))
    prompts: list[Prompt] = [pair.prompt for pair in story.rows(policy(ITERATIONS), Pair)]
    assert len({prompt.text for prompt in prompts}) == len(prompts)
    lists = [
        frozenset(answer.prompt.origin.keywords)
        for t in range(1, ITERATIONS + 1)
        for answer in story.rows(f"iteration-{t}/prompts", Answer)
    ]
    assert len(set(lists)) == len(lists) == 24 * ITERATIONS


@pytest.mark.parametrize("t", range(1, ITERATIONS + 1))
def test_every_pair_of_synpo_traces_back_to_keywords_and_draft(t: int) -> None:
    story = told("synpo")
    for pair in (pair for pair in story.rows(policy(t), Pair) if pair.iteration == t):
        written = {answer.id: answer for answer in story.rows(f"iteration-{t}/prompts", Answer)}
        drafts = {answer.id: answer for answer in story.rows(f"iteration-{t}/drafts", Answer)}
        assert pair.prompt.text in written[pair.prompt.origin.parent].text
        assert written[pair.prompt.origin.parent].prompt.origin.keywords == pair.prompt.origin.keywords
        assert drafts[pair.chosen.prompt.origin.parent].prompt == pair.prompt
        assert pair.rejected.prompt == pair.prompt
        assert pair.rejected.prompt_ids == pair.prompt_ids != pair.chosen.prompt_ids
        assert pair.gap is not None
        assert pair.gap >= 0


@pytest.mark.parametrize("t", range(1, ITERATIONS + 1))
def test_iterative_dpo_ranks_the_newest_policys_answers_to_the_seeds(t: int) -> None:
    story = told("iterative_dpo")
    pairs: list[Pair] = story.rows(policy(t), Pair)
    assert story.answered(f"iteration-{t}/answers") == policy(t - 1)
    assert {*makers(story, pairs, "chosen"), *makers(story, pairs, "rejected")} == {policy(t - 1)}
    assert {pair.iteration for pair in pairs} == {t}
    assert (story.start(policy(t)), story.reference(policy(t))) == (policy(t - 1), policy(t - 1))
    values = {verdict.answer: verdict.value for verdict in story.rows(f"iteration-{t}/answer-scores", Verdict)}
    answers: list[Answer] = story.rows(f"iteration-{t}/answers", Answer)
    for pair in pairs:
        own = [values[answer.id] for answer in answers if answer.prompt == pair.prompt]
        assert (pair.chosen_score, pair.rejected_score) == (max(own), min(own))
    seeds = {example.prompt.id for example in story.rows("prepare/seed_sft", Example)}
    assert {pair.prompt.id for pair in pairs} <= seeds


def test_delta_learning_prefers_the_stronger_of_two_models_and_asks_no_judge() -> None:
    story = told("delta_learning")
    pairs: list[Pair] = story.rows(policy(1), Pair)
    assert makers(story, pairs, "chosen") == {"prepare/seed_sft": len(pairs)}
    assert makers(story, pairs, "rejected") == {"initial": len(pairs)}
    assert (story.start(policy(1)), story.reference(policy(1))) == ("initial", "initial")
    assert not [name for name in story.order if name.startswith("iteration-1/") and "pair-scores" in name]


@pytest.mark.parametrize("t", range(1, ITERATIONS + 1))
def test_cream_trusts_its_labels_as_far_as_the_model_before_ranks_alike(t: int) -> None:
    story = told("cream")
    models = ["initial", "prepare/seed_sft", *map(policy, range(1, ITERATIONS))]
    before, current = models[t - 1 : t + 1]
    assert story.answered(f"iteration-{t}/answers") == current
    assert (story.start(policy(t)), story.reference(policy(t))) == (current, current)
    answers: list[Answer] = story.rows(f"iteration-{t}/answers", Answer)
    own, past = (
        [verdict.value or 0.0 for verdict in story.rows(f"iteration-{t}/{whose}-rewards", Verdict)]
        for whose in ("own", "past")
    )
    alike: list[float] = []
    for at in range(0, len(answers), 3):
        pairs = [(i, j) for i in range(at, at + 3) for j in range(at, i)]
        alike.append(sum((own[i] - own[j]) * (past[i] - past[j]) > 0 for i, j in pairs) / len(pairs))
    rate = sum(alike) / len(alike)  # (τ+1)/2 is the share of pairs that both order alike
    assert 0 < rate <= 1
    assert story.cards[policy(t)].parts["loss"]["consistency"] == pytest.approx(rate, abs=1e-6)
    values = {answer.id: value for answer, value in zip(answers, own, strict=True)}
    for pair in story.rows(policy(t), Pair):
        ranked = [values[answer.id] for answer in answers if answer.prompt == pair.prompt]
        assert (pair.chosen_score, pair.rejected_score) == (max(ranked), min(ranked))
    judges = story.cards[f"iteration-{t}/past-rewards"].parts["models"]
    assert {role: story.who(model) for role, model in judges.items()} == {
        "policy": before,
        **({} if t == 1 else {"reference": "initial"}),
    }


@pytest.mark.parametrize("t", range(1, ITERATIONS + 1))
def test_temporal_self_rewarding_rejects_from_the_past_and_chooses_from_the_future(t: int) -> None:
    story = told("temporal_self_rewarding")
    now, future = policy(t - 1), f"iteration-{t}/future"
    lifted = story.summary["iterations"][t]["notes"]["future_guided"]["by_future"]
    assert story.summary["iterations"][1]["notes"]["future_guided"]["by_future"]
    # Where nothing is lifted, future and policy are trained on the same pairs, and are one model.
    by = {"answers": now, "anchor-answers": "initial", "future-answers": future if lifted else policy(t)}
    for kind in by:
        judged = f"iteration-{t}/{kind.removesuffix('answers')}judgements"
        assert (story.answered(f"iteration-{t}/{kind}"), story.answered(judged)) == (by[kind], now)
    trained = [(story.start(stage), story.reference(stage)) for stage in (future, policy(t))]
    assert trained == [(now, now), (now, now)]
    points: dict[str, list[tuple[float, str]]] = {}
    for kind in by:
        given: dict[str, list[float]] = {}
        for reply in story.rows(f"iteration-{t}/{kind.removesuffix('answers')}judgements", Answer):
            given.setdefault(reply.prompt.origin.parent, []).append(float(reply.text.split()[-1]))
        answers: list[Answer] = story.rows(f"iteration-{t}/{kind}", Answer)
        for answer in answers:
            mean = sum(given[answer.id]) / len(given[answer.id])
            points.setdefault(f"{kind} {answer.prompt.id}", []).append((mean, answer.id))
    for stage in (future, policy(t)):
        for pair in story.rows(stage, Pair):
            own, past, to_come = (points[f"{kind} {pair.prompt.id}"] for kind in by)
            asked = [own] if stage == future else [own, to_come]
            assert pair.chosen_score == max(mean for answers in asked for mean, _ in answers)
            assert pair.rejected_score == min(mean for mean, _ in own + past)
            if min(own)[0] == min(past)[0]:
                assert pair.rejected.id in {identity for _, identity in own}, "the past must be worse"
            assert pair.gap is not None
            assert pair.gap > 0
    assert bool(lifted) == (future in makers(story, story.rows(policy(t), Pair), "chosen"))


def test_self_distillation_learns_gold_in_the_models_own_words_without_seeing_it() -> None:
    story = told("self_distillation")
    gold = {example.prompt.id: example.answer for example in story.rows("prepare/seed_sft", Example)}
    own: dict[str, Answer] = {answer.prompt.origin.parent: answer for answer in story.rows(OWN, Answer)}
    examples: list[Example] = story.rows(policy(1), Example)
    assert (story.answered(OWN), story.start(policy(1))) == ("initial", "initial")
    assert [example.prompt.id for example in examples] == list(gold)
    for example in examples:
        theirs = gold[example.prompt.id]
        assert theirs.text in own[theirs.id].prompt.text
        assert theirs.text not in example.prompt.text
        assert example.answer == (theirs if own[theirs.id].finish == "length" else own[theirs.id])
    assert {example.answer.finish for example in examples} == {"stop", "given"}, "one was cut, and gold stands for it"
    judged = [name for name in story.order if story.cards[name].verb == "score"]
    assert all(name.endswith(("greedy-scores", "sampled-scores")) for name in judged), "the benchmark alone judges"


@pytest.mark.parametrize("t", range(1, ITERATIONS + 1))
def test_sgpo_prefers_what_one_model_makes_of_its_own_answers(t: int) -> None:
    story, unified = told("sgpo"), "prepare/improvement-model"
    now = policy(t - 1) if t > 1 else unified
    assert story.answered(f"iteration-{t}/drafts") == story.answered(f"iteration-{t}/refined") == now
    assert (story.start(policy(t)), story.reference(policy(t))) == (now, now)
    drafts = {answer.prompt.id: answer for answer in story.rows(f"iteration-{t}/drafts", Answer)}
    for pair in story.rows(policy(t), Pair):
        assert pair.rejected == drafts[pair.prompt.id]
        assert pair.chosen.prompt.origin.parent == pair.rejected.id
        assert pair.rejected.text in pair.chosen.prompt.text
        assert (pair.gap, pair.scorer) == (None, "")


def test_sgpo_learns_small_steps_towards_gold_once_without_showing_gold() -> None:
    story = told("sgpo")
    gold = {example.prompt.id: example.answer.text for example in story.rows("prepare/seed_sft", Example)}
    made = [name for name in story.order if name.startswith("prepare/improvement")]
    assert made == [f"prepare/improvement-{what}" for what in ("drafts", "targets", "model")]
    drafts: dict[str, Answer] = {answer.id: answer for answer in story.rows(made[0], Answer)}
    assert story.start(made[2]) == story.answered(made[0]) == story.answered(made[1]) == "initial"
    for example in story.rows(made[2], Example):
        draft = drafts[example.prompt.origin.parent]
        shown, asked = example.answer.prompt.text, example.prompt.text
        assert draft.text in shown
        assert draft.text in asked
        assert gold[draft.prompt.id] in shown
        assert gold[draft.prompt.id] not in asked


@pytest.mark.parametrize("t", range(1, ITERATIONS + 1))
def test_hint_delta_prefers_answers_with_a_hint_that_moves_the_policy_little(t: int) -> None:
    story = told("hint_delta")
    stages = [f"iteration-{t}/{name}" for name in ("hints", "answers", "hinted-answers")]
    assert {story.answered(stage) for stage in stages} == {policy(t - 1)}
    assert (story.start(policy(t)), story.reference(policy(t))) == (policy(t - 1), policy(t - 1))
    hints, plain, hinted = (story.rows(stage, Answer) for stage in stages)
    logps = [story.rows(f"iteration-{t}/{which}-logps", Verdict) for which in ("plain", "hinted")]
    deltas = {
        answer.id: without.value - with_hint.value for answer, without, with_hint in zip(plain, *logps, strict=True)
    }
    pairs: list[Pair] = story.rows(policy(t), Pair)
    assert 0 < len(pairs) <= 5
    for pair in pairs:
        place = [answer.id for answer in plain].index(pair.rejected.id)
        assert (pair.prompt, pair.prompt_ids) == (pair.rejected.prompt, pair.rejected.prompt_ids)
        assert pair.chosen == hinted[place]
        assert pair.chosen.prompt.text == f"{pair.prompt.text}\n\nHint: {hints[place].text}"
        assert deltas[pair.rejected.id] <= sorted(deltas.values())[4], "the lower half of ten"
    assert story.cards[policy(t)].parts["loss"]["log_probability"] == "mean"


@pytest.mark.parametrize("t", range(1, ITERATIONS + 1))
def test_spin_plays_against_its_former_self(t: int) -> None:
    story = told("spin")
    pairs: list[Pair] = story.rows(policy(t), Pair)
    window = [s for s in (t - 1, t) if s >= 1]
    assert story.answered(f"iteration-{t}/own-answers") == policy(t - 1)
    assert makers(story, pairs, "chosen") == {"given": len(pairs)}
    assert makers(story, pairs, "rejected") == {policy(s - 1): 10 for s in window}
    assert Counter(pair.iteration for pair in pairs) == dict.fromkeys(window, 10)
    assert (story.start(policy(t)), story.reference(policy(t))) == (policy(t - 1), policy(t - 1))
    gold = {example.prompt.id: example.answer.token_ids for example in story.rows("prepare/seed_sft", Example)}
    assert all(pair.chosen.token_ids == gold[pair.prompt.id] for pair in pairs)


@pytest.mark.parametrize("t", range(1, ITERATIONS + 1))
def test_dnpo_plays_against_its_newest_self_and_accumulates_nothing(t: int) -> None:
    story = told("dnpo")
    pairs: list[Pair] = story.rows(policy(t), Pair)
    assert story.answered(f"iteration-{t}/own-answers") == policy(t - 1)
    assert (story.start(policy(t)), story.reference(policy(t))) == (policy(t - 1), policy(t - 1))
    assert Counter(pair.iteration for pair in pairs) == {t: 10}
    assert len({pair.prompt.id for pair in pairs}) == 10
    loss = story.cards[policy(t)].parts["loss"]
    assert loss["kind"] == "noise_preference"
    assert (loss["noise"]["scale"], loss["noise"]["trained"]) == (0.0 if t == 1 else 1.0, True)


def test_dnpo_begins_with_an_iteration_of_spin() -> None:
    story, spin = told("dnpo"), told("spin")
    pairs: list[Pair] = story.rows(policy(1), Pair)
    assert makers(story, pairs, "chosen") == {"given": 10}
    assert pairs == spin.rows(policy(1), Pair)
    assert not [name for name in story.order if name.startswith("iteration-1/") and name.endswith("own-scores")]


@pytest.mark.parametrize("t", range(2, ITERATIONS + 1))
def test_dnpo_chooses_the_generated_answer_where_it_scores_at_least_as_much_as_gold(t: int) -> None:
    story = told("dnpo")
    scores: dict[str, float | None] = {
        verdict.answer: verdict.value
        for stage in ("prepare/gold-scores", f"iteration-{t}/own-scores")
        for verdict in story.rows(stage, Verdict)
    }
    own = {answer.prompt.id: answer for answer in story.rows(f"iteration-{t}/own-answers", Answer)}
    pairs: list[Pair] = story.rows(policy(t), Pair)
    for pair in pairs:
        generated = own[pair.prompt.id]
        gold = pair.chosen if pair.rejected == generated else pair.rejected
        assert {pair.chosen.id, pair.rejected.id} == {gold.id, generated.id}
        assert (gold.model, gold.prompt) == ("given", pair.prompt)
        high, low = scores[generated.id], scores[gold.id]
        assert high is not None
        assert low is not None
        assert pair.chosen == (generated if high - low >= 0 else gold)
        assert pair.gap == abs(high - low)
    by = makers(story, pairs, "chosen")
    assert set(by) == {"given", policy(t - 1)}, "the golden run has labels of both kinds in every iteration"
    labels = story.summary["iterations"][t]["notes"]["labels"]
    assert (labels["gold_chosen"], labels["generated_chosen"]) == (by["given"], by[policy(t - 1)])


def test_dnpo_scores_gold_once_and_its_own_answers_in_every_labelled_iteration() -> None:
    found = [name for name in told("dnpo").order if name.endswith(("gold-scores", "own-scores"))]
    assert found.count("prepare/gold-scores") == 1
    assert sorted(found) == [*(f"iteration-{t}/own-scores" for t in range(2, ITERATIONS + 1)), "prepare/gold-scores"]


@pytest.mark.parametrize("t", range(1, ITERATIONS + 1))
def test_sampling_ranking_prefers_the_best_of_its_own_to_the_worst(t: int) -> None:
    story = told("sampling_ranking")
    pairs: list[Pair] = story.rows(policy(t), Pair)
    own = {answer.id for answer in story.rows(f"iteration-{t}/answers", Answer)}
    assert story.answered(f"iteration-{t}/answers") == policy(t - 1)
    assert makers(story, pairs, "chosen") == makers(story, pairs, "rejected")
    assert set(makers(story, pairs, "chosen")) == {policy(s - 1) for s in range(1, t + 1)}
    assert len(pairs) == 5 * t
    assert story.start(policy(t)) == "initial"
    for pair in (pair for pair in pairs if pair.iteration == t):
        assert {pair.chosen.id, pair.rejected.id} <= own
        assert pair.gap is not None
        assert pair.gap >= 0


@pytest.mark.parametrize("t", range(1, ITERATIONS + 1))
def test_self_rewarding_ranks_by_its_own_judgement(t: int) -> None:
    story = told("self_rewarding")
    assert story.answered(f"iteration-{t}/answers") == story.answered(f"iteration-{t}/judgements") == policy(t - 1)
    asked = Counter(reply.prompt.origin.parent for reply in story.rows(f"iteration-{t}/judgements", Answer))
    assert set(asked.values()) == {3}
    pairs: list[Pair] = story.rows(policy(t), Pair)
    for pair in (pair for pair in pairs if pair.iteration == t):
        assert {pair.chosen.id, pair.rejected.id} <= set(asked)
        assert pair.gap is not None
        assert pair.gap > 0
    assert story.start(policy(t)) == "initial"
    assert len(pairs) == 5 * t


@pytest.mark.parametrize(("method", "start"), [("seed_po", "initial"), ("seed_sft_po", "prepare/seed_sft")])
def test_seed_preferences_are_gold_over_the_initial_model(method: str, start: str) -> None:
    story = told(method)
    pairs: list[Pair] = story.rows(policy(1), Pair)
    assert story.start(policy(1)) == start
    assert makers(story, pairs, "chosen") == {"given": len(pairs)}
    assert makers(story, pairs, "rejected") == {"initial": len(pairs)}
    assert len({pair.prompt.id for pair in pairs}) == len(pairs) == 10


def test_manual_data_is_what_the_file_says() -> None:
    story = told("manual_data")
    pairs: list[Pair] = story.rows(policy(1), Pair)
    assert makers(story, pairs, "chosen") == makers(story, pairs, "rejected") == {"given": 7}
    assert [(p.prompt.text, p.chosen.text, p.rejected.text) for p in pairs] == [
        (f"What of item {i}?", f"Much {i}.", f"Less {i}.") for i in range(7)
    ]
    assert story.start(policy(1)) == "initial"


def test_seed_sft_is_trained_once_on_gold_and_is_the_model_beside_the_others() -> None:
    story = told("seed_sft")
    assert [name for name in story.order if story.cards[name].verb in ("finetune", "prefer")] == ["prepare/seed_sft"]
    assert story.start("prepare/seed_sft") == "initial"
    assert {example.answer.model for example in story.rows("prepare/seed_sft", Example)} == {"given"}
    assert len({iteration["policy"] for iteration in story.summary["iterations"][1:]}) == 1
    assert story.summary["beside"][0]["policy"] == story.summary["iterations"][1]["policy"]


@pytest.mark.parametrize("method", METHODS)
def test_no_measured_prompt_is_trained_on(method: str) -> None:
    story = told(method)
    measured = {
        answer.prompt.text
        for split in ("validation", "held_out")
        for answer in story.rows(f"iteration-0/{split}-greedy", Answer)
    }
    assert len(measured) == 8
    for card in story.cards.values():
        if card.verb in ("finetune", "prefer"):
            rows = story.rows(card.name, Example if card.verb == "finetune" else Pair)
            assert not measured & {row.prompt.text for row in rows}
