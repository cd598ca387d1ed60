"""The drift panel: figures against values by hand or another program's, alarms on bad cases and on healthy ones."""

import json
import math
import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_recipes import Heard, run, summary, write_recipe
from selfboost import recipe, store
from selfboost.disk.json_files import read_json, write_json
from selfboost.drift import Drift, Measured
from selfboost.drift.alarms import WATCHED, alarm_level, alarms
from selfboost.drift.judged import judged_figures, length_correlation, scored, win_rates
from selfboost.drift.panel import COMPARING, drift_panel, training_figures
from selfboost.drift.passes import PASSES_FIGURES, entropy, k3, per_token, shift
from selfboost.drift.texts import (
    TEXT_FIGURES,
    compressed,
    equal_counts,
    is_refusal,
    near_duplicates,
    self_bleu,
    text_figures,
)
from selfboost.engines.fake import read_fake
from selfboost.loop import Loop
from selfboost.measures import Estimated
from selfboost.records import Answer, Model, Origin, Sampling, user_prompt
from selfboost.run import Run
from selfboost.stages import Silent
from selfboost.train import Sequenced
from selfboost.train.fake import Fake
from selfboost.views.sentences import drift_sentences
from selfboost.views.summary import as_json
from selfboost.views.summary import summary as run_summary

DEMO = Path(recipe.__file__).parent / "recipes" / "demo.toml"
WORDS = [
    "amber",
    "basin",
    "copper",
    "dragon",
    "ember",
    "falcon",
    "garden",
    "harbor",
    "island",
    "jungle",
    "kettle",
    "lantern",
    "meadow",
    "needle",
    "orchard",
]
PROMPTS = 40


def answer(prompt: int, words: str, *, index: int = 0, finish: str = "stop", logps: Sequence[float] = ()) -> Answer:
    """An answer whose tokens are its words."""
    ids = tuple(sum(map(ord, word)) * 7 + len(word) for word in words.split())
    asked = user_prompt(f"prompt {prompt}", Origin(source="held_out"))
    return Answer(
        prompt=asked, text=words, prompt_ids=(1,), token_ids=ids, logps=tuple(logps), finish=finish, index=index
    )  # type: ignore[arg-type]


def varied(seed: int = 0, words: int = 12, prompts: int = PROMPTS, change: Callable[[str], str] = str) -> list[Answer]:
    """Two answers to each prompt, of words drawn at random, each changed."""
    draw = random.Random(seed)
    made = [(i, " ".join(draw.choices(WORDS, k=words))) for i in range(prompts) for _ in range(2)]
    return [answer(i, change(text), index=at % 2) for at, (i, text) in enumerate(made)]


def measured(answers: Sequence[Answer], score: Callable[[Answer], float] = lambda _: 0.0) -> Measured:
    return Measured(answers={"held_out-sampled": list(answers)}, scores={a.id: score(a) for a in answers})


# Texts.


def test_lengths_ends_and_repetition_are_those_counted_by_hand() -> None:
    own = [answer(0, "a b c d e f"), answer(1, "a a a a a a a", finish="length"), answer(2, "b c"), answer(3, "x")]
    first = [answer(0, "a b"), answer(1, "a b")]
    found, absent = text_figures(own, first)
    assert (found["length_p10"], found["length_median"], found["length_p90"]) == pytest.approx((1.3, 4.0, 6.7))
    assert found["length_ratio"] == pytest.approx(4 / 2)
    assert found["unended"] == 0.25
    assert found["repeated"] == pytest.approx((0 + 3 / 4 + 0 + 0) / 4)
    assert found["repeated_half"] == 0.25
    assert found["unchanged"] == 0
    assert set(absent) == {"distinct_1", "distinct_2", "distinct_1_ratio", "distinct_2_ratio"} | {
        "compression",
        "compression_ratio",
        "self_bleu",
        "self_bleu_rise",
    }
    assert found.keys() | absent.keys() == set(TEXT_FIGURES)
    assert "fewer than 10" in absent["distinct_1"]


def test_answers_equal_to_one_of_the_initial_models_are_counted_by_prompt() -> None:
    first = [answer(0, "a b"), answer(1, "c d")]
    assert text_figures([answer(0, "a b"), answer(0, "c d"), answer(1, "c d")], first)[0]["unchanged"] == pytest.approx(
        2 / 3
    )


@settings(max_examples=25)
@given(st.lists(st.integers(1, 30), min_size=15, max_size=40), st.lists(st.integers(1, 30), min_size=15, max_size=40))
def test_variety_is_compared_at_equal_counts(lengths: list[int], others: list[int]) -> None:
    cut = equal_counts([tuple(range(n)) for n in lengths], [tuple(range(n)) for n in others])
    if cut is None:
        return
    assert len(cut[0]) == len(cut[1])
    assert len({len(each) for group in cut for each in group}) == 1


def test_longer_answers_of_the_same_model_are_as_varied() -> None:
    """A draw of the same words at twice the length has a lower distinct-n as it is, and the same at equal counts."""
    short, long = varied(1, words=12, prompts=200), varied(2, words=24, prompts=200)
    found, _ = text_figures(long, short)
    assert found["distinct_1_ratio"] == pytest.approx(1, abs=0.02)
    assert found["distinct_2_ratio"] == pytest.approx(1, abs=0.05)
    pairs = [tuple(a.token_ids[i : i + 2]) for a in long for i in range(11)]
    assert found["distinct_2"] == pytest.approx(len(set(pairs)) / len(pairs))


def test_compression_is_zlibs() -> None:
    assert compressed(b"abc" * 100) == len(zlib.compress(b"abc" * 100)) / 300
    found, _ = text_figures(varied(1), varied(1))
    assert found["compression_ratio"] == 1


def test_self_bleu_is_that_of_sacrebleu() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    draw = random.Random(3)
    texts = [" ".join(draw.choices(WORDS[:5], k=draw.randrange(5, 12))) for _ in range(15)]
    expected = [
        sacrebleu.sentence_bleu(text, texts[:i] + texts[i + 1 :], smooth_method="exp", tokenize="none").score
        for i, text in enumerate(texts)
    ]
    assert self_bleu(texts) == pytest.approx(sum(expected) / len(expected))


def test_self_bleu_by_hand() -> None:
    assert self_bleu(["a b c d e"] * 3) == pytest.approx(100)
    one = (1 / 2 * 1 / 2) ** 0.5 * 100  # of "a b" against "a c": one of two words; of one pair none, counted as 1/2
    assert self_bleu(["a b", "a c"]) == pytest.approx(one)
    assert self_bleu(["", ""]) == 0


def test_near_duplicates_are_found_whatever_their_case_and_punctuation() -> None:
    text = "one two three four five six seven eight nine ten eleven twelve"
    assert near_duplicates([text, text.upper() + "!", "other words are here today", text + " more"]) == 0.75
    assert near_duplicates(["a b c d", "d c b a", "b d a c"]) == 0
    assert near_duplicates(["a"]) == 0


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I\u2019m sorry, I cannot do that.", True),
        ("As an AI language model, I do not have opinions.", True),
        ("Unfortunately, I am not able to", True),
        ("I can help with that.", False),
        ("The answer is: I cannot.", False),
        ("As an AI researcher once said", True),
        ("Sorry to hear that your dog is ill.", True),
    ],
)
def test_refusals_are_known_by_how_they_begin(text: str, refused: bool) -> None:
    assert is_refusal(text) is refused


# Scores.


def test_win_rates_of_all_pairs_and_of_those_equally_long() -> None:
    new, old = {"p": [(10, 1.0), (20, 2.0)], "q": [(5, 0.0)]}, {"p": [(10, 0.5), (19, 2.0)], "q": [(50, 1.0)]}
    assert win_rates(new, old) == [(1 + 0 + 1 + 0.5) / 4, 0]
    assert win_rates(new, old, 0.1) == [(1 + 0.5) / 2]


def test_the_correlation_ignores_that_prompts_differ() -> None:
    hard, easy = [(10, -5.0), (12, -4.0), (14, -3.0)], [(1, 9.0), (3, 10.0), (5, 11.0)]
    assert length_correlation({"hard": hard, "easy": easy}) == pytest.approx(1)
    assert length_correlation({"hard": hard, "easy": [(1, 11.0), (3, 10.0), (5, 9.0)]}) == pytest.approx(0)
    assert length_correlation({"p": [(1, 2.0)]}) is None


def test_scores_are_turned_so_that_higher_is_better_and_missing_ones_left_out() -> None:
    answers = [answer(0, "a b"), answer(0, "c", index=1), answer(1, "d")]
    found = scored(answers, {answers[0].id: 3.0, answers[2].id: 1.0}, -1)
    assert list(found.values()) == [[(2, -3.0)], [(1, -1.0)]]


def test_without_scores_the_figures_of_scores_are_absent_with_a_reason() -> None:
    found, absent = judged_figures(Measured(answers={"s": varied()}), measured(varied()), 1, 0)
    assert found == {}
    assert set(absent.values()) == {"the benchmark scored no single answers"}


# Training and passes.


def test_ends_of_a_training_are_means_of_eight_steps() -> None:
    history = [{"step": i, "chosen_logp": -1.0 - i, "rejected_logp": -2.0 - i} for i in range(20)]
    found, absent = training_figures(history)
    assert found["chosen_logp"].value == pytest.approx(-1 - sum(range(12, 20)) / 8)
    assert found["rejected_logp"].value == pytest.approx(-2 - sum(range(12, 20)) / 8)
    assert found["chosen_change"].value == pytest.approx(-12)
    assert absent == {}
    assert "no preference training" in training_figures([{"step": 1, "loss": 2.0}])[1]["chosen_logp"]


@pytest.mark.parametrize("steps", [2, 3, 5, 15])
def test_a_training_of_a_few_steps_that_unlearns_its_chosen_answers_is_alarming(steps: int) -> None:
    """Its batches differ by nature (even steps are harder); what each lost since the reference does not."""
    lost = [-2.0 * i / (steps - 1) for i in range(steps)]
    history = [
        {"step": i, "chosen_shift": lost[i], "chosen_logp": lost[i] - 3.0 * (i % 2), "rejected_logp": -9.0}
        for i in range(steps)
    ]
    half = steps // 2
    expected = sum(lost[-half:]) / half - sum(lost[:half]) / half
    assert training_figures(history)[0]["chosen_change"].value == pytest.approx(expected)
    assert expected < WATCHED["chosen_change"].level
    alone, why = training_figures([{k: v for k, v in row.items() if k != "chosen_shift"} for row in history[:3]])
    assert "chosen_change" not in alone
    assert why["chosen_change"] == "the training logged too few steps"


def test_entropy_is_that_of_the_distribution_drawn_from() -> None:
    draw, p = random.Random(0), 0.2
    logs = {True: math.log(p), False: math.log(1 - p)}
    samples = [answer(i, "a b c", logps=[logs[draw.random() < p] for _ in range(3)]) for i in range(500)]
    found, exact = entropy(samples), -p * logs[True] - (1 - p) * logs[False]
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < exact < found.high
    assert entropy([answer(0, "a"), answer(1, "b")]) is None, "no log-probabilities were stored"


def test_sums_per_token_and_paired_shifts_leave_out_what_is_missing() -> None:
    answers = [answer(0, "a b"), answer(1, "a b c"), answer(2, "a")]
    found = per_token(answers, [1.0, 2.0, None])
    assert found is not None
    assert found.value == pytest.approx(3 / 5)
    moved = shift([1.0, 2.0, None, 4.0], [0.0, 0.0, 0.0, 1.0])
    assert moved is not None
    assert moved.value == pytest.approx(2)
    assert per_token(answers, [None, 1.0, None]) is None


@dataclass(frozen=True, kw_only=True)
class Moving(Fake):
    """A trainer whose trainings make every token of every text likelier by the same."""

    def logps(self, model: Model, sequences: Sequence[Sequenced]) -> Iterator[tuple[float, ...]]:
        value = -2.0 + 0.25 * len(read_fake(model.path).lineage)
        return ((value,) * len(s.token_ids) for s in sequences)


def drifted(folder: Path, method: str = "synpo", /, **sections: Mapping[str, object]) -> Path:
    """A run of two iterations with passes."""
    own = {"iterations": 2, "drift": {"prompts": 3, "max_tokens": 30}, "agreement": 9, **sections.pop("run", {})}
    lines = {"run": {key: value for key, value in own.items() if key != "drift"}, "run__drift": own["drift"]}
    path = write_recipe(folder, method, **lines, **sections)  # type: ignore[arg-type]
    run(path, folder / "run", trust=__name__)
    return folder / "run"


def test_passes_of_a_known_shift_are_exact(tmp_path: Path) -> None:
    root = drifted(tmp_path, "spin", trainer={"kind": "test_drift:Moving"}, loss={"kind": "simpo"})
    panels = [entry.drift for entry in run_summary(root).iterations]
    for t in (1, 2):
        assert panels[t].value("kl") == pytest.approx(0.25 * t)
        assert panels[t].value("kl_k3") == pytest.approx(k3(-2.0 + 0.25 * t, -2.0))
        assert panels[t].value("gold_shift") == pytest.approx(0.25 * t)
        assert panels[t].value("gold_ratio") == pytest.approx(math.exp(-0.25 * t))
        assert panels[t].value("gold_perplexity") == pytest.approx(math.exp(2.0 - 0.25 * t))
    assert panels[0].value("gold_perplexity") == pytest.approx(math.exp(2.0))
    assert panels[0].absent.keys() >= set(COMPARING)


def test_the_passes_are_stages_with_the_same_prompts_each_time_and_resumed(tmp_path: Path) -> None:
    root = drifted(tmp_path)
    names = {card.name: card for card in store.cards(root) if "/drift/" in card.name}
    kinds = {"samples", "logps", "initial-logps", "divergence-k3", "train-scores"}
    assert {name.rpartition("/")[2] for name in names if name.startswith("iteration-2/")} == kinds
    assert {name for name in names if name.startswith("iteration-0/")} == {
        f"iteration-0/drift/{n}" for n in ("samples", "logps")
    }
    asked = [
        [a.prompt.id for a in store.read_rows(root, names[f"iteration-{t}/drift/samples"], Answer)] for t in (0, 1, 2)
    ]
    assert asked[0] == asked[1] == asked[2]
    assert len(asked[0]) == 3
    before = summary(root)
    assert run(tmp_path / "recipe.toml", root, trust=__name__).started_stages == []
    assert summary(root) == before


def test_without_passes_each_figure_of_them_is_absent_with_the_setting_to_change(tmp_path: Path) -> None:
    root = drifted(tmp_path, run={"drift": {"prompts": 0}})
    panel = run_summary(root).iterations[1].drift
    assert not [card.name for card in store.cards(root) if "/drift/" in card.name]
    assert all("run.drift.prompts" in panel.absent[name] for name in PASSES_FIGURES)
    assert panel.value("length_ratio") is not None
    assert not panel.figures.keys() & panel.absent.keys()
    assert panel.figures.keys() | panel.absent.keys() == set(WATCHED)


@pytest.mark.parametrize(
    ("method", "sections", "why"),
    [
        ("manual_data", {}, "does not use"),
        ("spin", {"scorer": {"policy": "initial"}}, "does not use"),
    ],
)
def test_the_trainings_scorer_is_asked_only_where_it_chose_pairs(
    method: str, sections: Mapping[str, Mapping[str, object]], why: str, tmp_path: Path
) -> None:
    panel = run_summary(drifted(tmp_path, method, **sections)).iterations[1].drift
    assert why in panel.absent["train_scorer"]


# Alarms.


COUNT = 60
Score = Callable[[Answer], float]


def zero(_: Answer) -> float:
    return 0.0


def panel_of(changed: Sequence[Answer], score: Score = zero, first_score: Score = zero) -> Drift:
    """The panel of answers beside healthy ones of an initial model."""
    first = measured(varied(0, prompts=COUNT), first_score)
    return drift_panel(measured(changed, score), first, first_panel=drift_panel(first, first))


def changed(change: Callable[[str], str], words: int = 12) -> list[Answer]:
    return varied(1, words=words, prompts=COUNT, change=change)


def few_words(text: str) -> str:
    return " ".join(WORDS[sum(map(ord, word)) % 3] for word in text.split())


def looping(text: str) -> str:
    return " ".join((text.split()[:2] * 6)[:12])


def alike(text: str) -> str:
    return "it is a pleasure to answer this question of yours today my friend " + text.split()[0]


def refusing(text: str) -> str:
    return f"I'm sorry, {text}" if text[0] in "abcde" else text


def unending(text: str) -> list[Answer]:
    return [replace(a, finish="length" if i % 5 == 0 else "stop") for i, a in enumerate(changed(str))]


def by_length(a: Answer) -> float:
    return float(len(a.token_ids))


def longer_wins() -> Drift:
    """A policy that wins where its answers are longer, and loses among equally long ones."""
    own = [answer(i, " ".join(WORDS[: 12 if j else 6])) for i in range(COUNT) for j in range(2)]
    own = [replace(a, index=at % 2) for at, a in enumerate(own)]
    first = measured([replace(answer(i, " ".join(WORDS[:6])), index=j) for i in range(COUNT) for j in range(2)], zero)
    scores = measured(own, lambda a: 5.0 if len(a.token_ids) > 6 else -1.0 if int(a.prompt.text[7:]) % 3 == 0 else 0.0)
    return drift_panel(scores, first, first_panel=drift_panel(first, first))


def figures(**values: float | tuple[float, float, float]) -> Drift:
    ends = {name: v if isinstance(v, tuple) else (v, None, None) for name, v in values.items()}
    return Drift(figures={name: Estimated(value=v, low=low, high=high) for name, (v, low, high) in ends.items()})


def fired(panel: Drift, gain: Estimated | None = None) -> dict[str, str]:
    return alarms(panel, Drift(), gain or Estimated(), 1)


BAD: dict[str, Callable[[], dict[str, str]]] = {
    "length_ratio": lambda: panel_of(changed(str, words=20)).alarms,
    "unended": lambda: panel_of(unending("")).alarms,
    "distinct_1_ratio": lambda: panel_of(changed(few_words)).alarms,
    "distinct_2_ratio": lambda: panel_of(changed(few_words)).alarms,
    "repeated": lambda: panel_of(changed(looping)).alarms,
    "repeated_half": lambda: panel_of(changed(looping)).alarms,
    "compression_ratio": lambda: panel_of(changed(alike)).alarms,
    "self_bleu_rise": lambda: panel_of(changed(alike)).alarms,
    "near_duplicates": lambda: panel_of(changed(alike)).alarms,
    "refusals": lambda: panel_of(changed(refusing)).alarms,
    "length_correlation": lambda: (
        panel_of(varied(1, prompts=COUNT, change=lambda t: t[: 20 + 3 * (len(t) % 9)]), by_length).alarms
    ),
    "equal_length_win_rate": lambda: longer_wins().alarms,
    "chosen_change": lambda: fired(figures(chosen_change=-0.6)),
    "entropy_ratio": lambda: fired(figures(entropy_ratio=0.3)),
    "kl": lambda: fired(figures(kl=1.1)),
    "gold_ratio": lambda: fired(figures(gold_ratio=1.6)),
    "train_scorer": lambda: fired(figures(train_scorer=(1, 0.5, 1.5)), Estimated(value=-1, low=-2, high=-0.5)),
}
GOOD: dict[str, Callable[[], dict[str, str]]] = {
    "chosen_change": lambda: fired(figures(chosen_change=0.1)),
    "entropy_ratio": lambda: fired(figures(entropy_ratio=0.8)),
    "kl": lambda: fired(figures(kl=0.2)),
    "gold_ratio": lambda: fired(figures(gold_ratio=0.9)),
    "a gain that both see": lambda: fired(figures(train_scorer=(1, 0.5, 1.5)), Estimated(value=1, low=0.5, high=2)),
    "a loss by chance": lambda: fired(figures(train_scorer=(1, 0.5, 1.5)), Estimated(value=-1, low=-3, high=0.5)),
    "wins at every length": lambda: panel_of(changed(str), lambda _: 1.0).alarms,
}


def test_every_alarm_has_a_bad_case_a_level_and_a_reason() -> None:
    watched = {name: each for name, each in WATCHED.items() if each.rule}
    assert BAD.keys() == watched.keys()
    assert all(each.means and each.reason for each in watched.values())
    assert all(alarm_level(each) for name, each in watched.items() if name != "train_scorer")


def test_the_page_has_every_figure_with_its_level_and_reason() -> None:
    page = (Path(__file__).parents[2] / "docs" / "drift.md").read_text()
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    rows = {cells[0]: cells[2:] for cells in lines}
    for watched in WATCHED.values():
        level, reason = rows[watched.title]
        assert not alarm_level(watched) or level == alarm_level(watched)
        assert not watched.reason or reason == watched.reason


@pytest.mark.parametrize("name", BAD)
def test_an_alarm_fires_on_a_bad_case_in_one_sentence(name: str) -> None:
    sentence = BAD[name]()[name]
    assert sentence.startswith(f"{WATCHED[name].means}: {WATCHED[name].title}")
    assert ". " not in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("name", GOOD)
def test_no_alarm_fires_on_a_good_case(name: str) -> None:
    assert GOOD[name]() == {}


@pytest.mark.parametrize("seed", range(1, 6))
def test_another_draw_of_the_same_model_is_silent(seed: int) -> None:
    draw = random.Random(seed)
    scores = {0: draw.random(), 1: draw.random()}
    panel = panel_of(varied(seed, prompts=COUNT), lambda a: scores[a.index], lambda a: scores[a.index])
    assert panel.alarms == {}


@pytest.mark.slow
def test_the_embedded_models_own_samples_are_silent(tmp_path: Path) -> None:
    """Two draws of the demo's initial model on the same prompts, one as the policy's."""
    changes = [
        "run.drift.prompts=0",
        "benchmark.greedy=false",
        "benchmark.samples=2",
        "seed.held_out=48",
        "seed.limit=60",
    ]
    made = Run(recipe.read(DEMO, changes), tmp_path, Silent())
    made.begin(0, made.initial)
    made.measure(made.initial, "held_out")
    first = made.last_measured
    prompts = [example.prompt for example in made.held_out]
    again = made.sample("again", made.initial, prompts, Sampling(temperature=0.7, max_tokens=40, samples=2))
    verdicts = made.score("again-scores", again, made.recipe.benchmark.scorer)  # type: ignore[attr-defined]
    second = Measured(answers={"again": again}, scores={v.answer: v.value for v in verdicts if v.value is not None})
    panel = drift_panel(second, first, first_panel=drift_panel(first, first))
    assert panel.alarms == {}
    assert panel.value("unchanged") > 0.2  # type: ignore[operator]
    assert {"self_bleu_rise", "equal_length_win_rate", "length_correlation"} <= panel.figures.keys()


# Where people see it.


def bad_run(folder: Path) -> Path:
    """A finished run whose second panel says that answers repeat themselves."""
    root = drifted(folder, run={"drift": {"prompts": 0}})
    told = read_json(root / "run.json")
    told["iterations"][2]["drift"]["alarms"] = {"repeated": "answers repeat themselves: a lot"}
    write_json(root / "run.json", told)
    return root


def test_alarms_are_shown_in_words_and_to_programs(tmp_path: Path) -> None:
    root = bad_run(tmp_path)
    sentences = drift_sentences(run_summary(root))
    assert "Iteration 2, alarm: answers repeat themselves: a lot." in sentences
    assert "1 alarm among" in sentences[-1]
    plain = json.loads(json.dumps(as_json(run_summary(root))))
    assert plain["iterations"][2]["drift"]["alarms"] == {"repeated": "answers repeat themselves: a lot"}
    assert plain["iterations"][1]["drift"]["figures"]["length_median"]["value"] > 0
    assert plain["iterations"][1]["drift"]["absent"]["kl"]


def test_a_folder_without_panels_says_nothing_of_drift(tmp_path: Path) -> None:
    root = bad_run(tmp_path)
    told = read_json(root / "run.json")
    for entry in (*told["iterations"], *told["beside"]):
        del entry["drift"]
    write_json(root / "run.json", told)
    assert drift_sentences(run_summary(root)) == []


def test_an_alarm_is_said_on_the_iterations_line(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "spin", run={"agreement": 9}, trainer={"kind": "test_drift:Moving"})
    heard = Heard()
    made = Run(recipe.read(path, trust=__name__), tmp_path / "run", heard)
    loop = Loop(made, 0.0)
    loop.first_measured = measured(varied(0, prompts=COUNT))
    loop.iterations = []
    panel = panel_of(changed(looping))
    loop.tell_alarms(panel, "promoted")
    assert heard.alarms == [f"iteration 0, promoted: {sentence}" for sentence in panel.alarms.values()]


def test_models_beside_have_a_panel_of_their_texts(tmp_path: Path) -> None:
    root = drifted(tmp_path, run={"beside": ["seed_sft"]})
    panel = run_summary(root).beside[0].drift
    assert panel.value("length_ratio") is not None
    assert "beside" in panel.absent["kl"]
