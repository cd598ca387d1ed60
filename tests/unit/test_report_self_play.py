"""The report's section on self-play: what the run kept, no more, for runs that kept all, a part, or nothing of it."""

import json
import re
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_pages import page_of
from small_run import EVIL

from fake_recipes import run, write_recipe
from selfboost import store
from selfboost.disk.json_files import read_json, write_json
from selfboost.methods.parts.distributions import FOLDER, INITIAL, Movement
from selfboost.methods.parts.labelling import Labels, Scores
from selfboost.records import Verdict
from selfboost.report.charts import histogram, outcomes
from selfboost.report.material import read_story
from selfboost.report.self_play import OUTLINES, self_play_section
from selfboost.views.sentences import choices
from selfboost.views.summary import summary
from selfboost.views.table import print_summary

TITLE = "<h2>Self-play</h2>"
NOISE = ("noise_loss", "noise_sigma", "noise_sigma_first", "noise_sigma_middle", "noise_sigma_last", "noise_shift")
ALARM = "the chosen answers lost 1.5 nats per token"


@cache
def self_play() -> Path:
    """A run of fakes, of one plain and two labelled iterations."""
    folder = Path(mkdtemp(prefix="selfboost-test-"))
    path = write_recipe(folder, "dnpo", run={"iterations": 3}, method={"score_generations": True})
    run(path, folder / "run")
    return folder / "run"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(self_play(), tmp_path / "run"))


def section(root: Path) -> str:
    return self_play_section(read_story(root))


def edit_training(root: Path, iteration: int, noise: float | None = None, **notes: Any) -> None:
    """Change what the policy's training says of itself, and its noise: one value at every step, or none."""
    path = root / "stages" / f"iteration-{iteration}" / "policy" / store.CARD
    card = json.loads(path.read_text())
    history = [{k: v for k, v in row.items() if "noise" not in k} for row in card["notes"]["history"]]
    columns = {} if noise is None else dict.fromkeys(NOISE, noise)
    card["notes"] |= {"history": [row | columns for row in history], "facts": {}} | notes
    path.write_text(json.dumps(card | {"seal": ""}))


def edit_notes(root: Path, change: Any) -> None:
    told = read_json(root / "run.json")
    for entry in told["iterations"][1:]:
        change(entry["notes"])
    write_json(root / "run.json", told)


def test_the_section_tells_what_the_iterations_noted() -> None:
    text, iterations = page_of(self_play()), summary(self_play()).iterations
    assert TITLE in text
    assert '<a href="#self-play">' in text
    for entry in iterations[1:]:
        found = entry.note(Movement)
        assert found is not None
        for value in (found.chosen_shift, found.rejected_shift, found.reward_margin):
            assert f"<span>{value:.3g}" in text
        for moved in (found.moved, found.kl_per_token, found.gold_shift, found.margin_shift):
            assert moved is not None
            assert f"<span>{moved.value:.3g}<small> [{moved.low:.3g}, {moved.high:.3g}]" in text
    labels = [found for entry in iterations if (found := entry.note(Labels))]
    assert len(labels) == 2
    for note in labels:
        counts = (note.gold_chosen, note.generated_chosen, note.ties, note.unscored, note.changed)
        assert "".join(f'<td class="number">{count}</td>' for count in counts) in text
    for part in (
        "chosen answers under the new policy",
        "implicit rewards, iteration 3",
        "loss by step",
        "0 is the init",
    ):
        assert part in text


def test_values_left_of_the_axis_are_counted_and_told() -> None:
    titles = {"chosen": "chosen answers", "rejected": "rejected answers", "samples": "own answers under"}
    cards = {card.name: card for card in store.cards(self_play())}
    text = section(self_play())
    for side, title in titles.items():
        stages = {f"iteration {i}": f"iteration-{i}/{FOLDER}/{side}-after" for i in (1, 2, 3)}
        stages |= {"initial model": f"{INITIAL}-logps"} if side == "samples" else {}
        told: list[str] = []
        for name, stage in stages.items():
            values = [v.value for v in store.stored_rows(self_play(), cards[stage], Verdict) if v.value is not None]
            below = sum(value < -2 for value in values)
            told += [f"{below} of {len(values)} ({name})"] if below else []
        sentence = f"being below -2: {', '.join(told)}." if told else "No value is below -2."
        assert sentence in text.partition(title)[2].partition("</figure>")[0]


def test_comparisons_are_those_of_the_measured_prompts() -> None:
    story = read_story(self_play())
    assert [r.entry.decision for r in story.rounds[1:]] == ["promoted"] * 3
    games = re.findall(r">(\d) against (\d)</th><td[^>]*>([\d.]+) / ([\d.]+) / ([\d.]+)<", section(self_play()))
    assert [(new, old) for new, old, *_ in games] == [("1", "0"), ("2", "1"), ("2", "0"), ("3", "2"), ("3", "0")]
    for new, old, won, tied, lost in games:
        one, other = story.rounds[int(new)].ratings, story.rounds[int(old)].ratings
        assert float(won) == pytest.approx(100 * sum(one[p] > other[p] for p in one) / len(one), abs=0.05)
        assert float(lost) == pytest.approx(100 * sum(one[p] < other[p] for p in one) / len(one), abs=0.05)
        assert float(won) + float(tied) + float(lost) == pytest.approx(100, abs=0.2)


def test_noise_is_drawn_where_there_was_any(copy: Path) -> None:
    for iteration in (1, 2, 3):
        edit_training(copy, iteration)
    assert "loss by step" in section(copy)
    assert "strength σ of the noise" not in section(copy)
    assert "noisy reference" not in page_of(copy)
    assert "noise scale c" not in section(copy)
    for iteration in (2, 3):
        edit_training(copy, iteration, noise=0.5, facts={"noise_scale": 0.25, "noise_start": -1})
    text = page_of(copy)
    for part in ("strength σ of the noise by step", "middle token", "what the noise adds", "noise scale c", ">0.25<"):
        assert part in text
    assert "policy: noise loss" in text
    assert text.count("<figcaption>policy: margin (against the noisy reference)") == 2
    assert text.count("<figcaption>policy: accuracy (against the noisy reference)") == 2
    assert text.count("<figcaption>policy: margin</figcaption>") == 1, "the plain iteration's"
    assert "policy: noise sigma first" not in text


def test_an_alarm_of_a_training_is_seen_first(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit_training(copy, 2, warnings=[ALARM])
    text = page_of(copy)
    shown = f'<p class="warning">iteration-2/policy: {ALARM}</p>'
    assert 0 < text.index(shown) < text.index("<h2")
    assert summary(copy).warnings == (f"iteration-2/policy: {ALARM}",)
    assert summary(self_play()).warnings == ()
    print_summary(copy)
    assert ALARM in capsys.readouterr().out.replace("\n", " ")


def test_runs_that_kept_nothing_have_no_section(tmp_path: Path) -> None:
    run(write_recipe(tmp_path, "seed_po"), tmp_path / "run")
    text = page_of(tmp_path / "run")
    assert TITLE not in text
    assert "#self-play" not in text


@pytest.mark.parametrize("missing", [FOLDER, "labels", "scores"])
def test_each_part_is_shown_without_the_others(copy: Path, missing: str) -> None:
    edit_notes(copy, lambda notes: notes.pop(missing, None))
    if missing == FOLDER:
        for folder in (copy / "stages").rglob(FOLDER):
            shutil.rmtree(folder)
    text = page_of(copy)
    assert TITLE in text
    assert ("divergence per answer" in text) == (missing != FOLDER)
    assert ("mean score by iteration" in text) == (missing != "scores")
    assert ("changed since the last iteration" in text) == (missing != "labels")


@pytest.mark.parametrize("note", [EVIL, {EVIL: EVIL}, {EVIL: 3}, {}, [1], None])
def test_notes_of_another_shape_do_no_harm(copy: Path, note: Any) -> None:
    edit_notes(copy, lambda notes: notes.update(dict.fromkeys((FOLDER, "labels", "scores"), note)))
    assert "&lt;script&gt;" in page_of(copy) or EVIL not in str(note)
    choices(summary(copy).iterations)


def test_a_damaged_stage_is_told(copy: Path) -> None:
    (copy / "stages" / "iteration-2" / FOLDER / "chosen-after" / store.ROWS).write_text("{half\n")
    assert "line 1: is no Verdict (" in section(copy)
    assert "divergence per answer" in section(copy)


def test_the_first_and_the_last_of_many_iterations_are_drawn(copy: Path) -> None:
    for number in range(4, 8):
        shutil.copytree(copy / "stages" / "iteration-3", copy / "stages" / f"iteration-{number}")
        for path in (copy / "stages" / f"iteration-{number}").rglob(store.CARD):
            card = json.loads(path.read_text().replace("iteration-3/", f"iteration-{number}/"))
            path.write_text(json.dumps(card | {"seal": ""}))
    told = read_json(copy / "run.json")
    told["iterations"] += [told["iterations"][3] | {"iteration": number} for number in range(4, 8)]
    write_json(copy / "run.json", told)
    drawn = re.findall(r"<figcaption>implicit rewards, iteration (\d)", page_of(copy))
    assert drawn == ["1", "5", "6", "7"]
    assert len(drawn) == OUTLINES


def test_show_says_how_labels_fell_and_how_far_the_policy_went() -> None:
    iterations = summary(self_play()).iterations
    labels, moves = choices(iterations)[-2:]
    counts = [found for entry in iterations if (found := entry.note(Labels))]
    shown = [f"{c.generated_chosen} of {c.generated_chosen + c.gold_chosen}" for c in counts]
    assert f"in iteration 2: {shown[0]}, in iteration 3: {shown[1]}." in labels
    assert "iteration 1" not in labels, "it had no labels"
    movements = [entry.note(Movement) for entry in iterations[1:]]
    far = [f"in iteration {i}: {m.moved.value:.3g}" for i, m in enumerate(movements, start=1)]  # type: ignore[union-attr]
    assert ", ".join(far) in moves


def test_bars_of_labels_add_up_and_shares_of_scores_are_in_percent() -> None:
    text = page_of(self_play())
    cards = {card.name: card for card in store.cards(self_play())}
    for number, entry in enumerate(summary(self_play()).iterations):
        if (note := entry.note(Labels)) is None:
            continue
        section_of = text.partition(f'id="iteration-{number}"')[2]
        drawn = section_of.partition("labels: what became of them")[2].partition("</figure>")[0]
        bars = {name: int(n) for name, n in re.findall(r'row">([^<]+)</th><td class="number">(\d+)<', drawn)}
        assert sum(bars.values()) == cards[f"iteration-{number}/own-answers"].rows
        among = dict(re.findall(r"(ties|unscored|changed since the last iteration) (\d+)", drawn))
        assert bars == {"gold chosen": note.gold_chosen, "generated chosen": note.generated_chosen} | note.no_pair
        assert [int(count) for count in among.values()] == [note.ties, note.unscored, note.changed]
        scores = entry.note(Scores)
        assert scores is not None
        assert f'<td>equal scores</td><td class="number">{100 * scores.ties:.1f} %</td>' in section_of  # type: ignore[operator]
    assert not re.search(r"<tr>(<th scope=\"col\"[^>]*></th>)+</tr>", text), "no header row is empty"


@given(st.lists(st.floats(-50, 50), min_size=1))
def test_a_histogram_of_a_fixed_range_counts_what_lies_outside_at_its_ends(values: list[float]) -> None:
    drawing = histogram({"all": values}, x_label="x", within=(-2.0, 0.0), bins=4)
    counts = {low: int(n) for low, n in re.findall(r"<title>(\S+) to \S+: (\d+)<", drawing)}
    assert sum(counts.values()) == len(values)
    assert counts.get("-2.00", 0) == sum(value < -1.5 for value in values)
    assert counts.get("-0.50", 0) == sum(value >= -0.5 for value in values)
    shares = re.findall(
        r": ([\d.]+) %<", histogram({"all": values}, x_label="x", within=(-2.0, 0.0), bins=4, share=True)
    )
    assert sum(map(float, shares)) == pytest.approx(100, abs=0.3)


@given(st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)).filter(any))
def test_parts_of_a_comparison_fill_its_bar(counts: tuple[int, int, int]) -> None:
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", outcomes({"all": counts}))]
    assert widths == pytest.approx([100 * count / sum(counts) for count in counts], abs=0.0501)
