"""The page: self-contained, well-formed, safe against every text in it, true to the run, whatever the method."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_pages import page_of
from small_run import EVIL, evil_pair, finished_run

from selfboost import store
from selfboost.disk.json_files import read_json, write_json
from selfboost.records import Answer, Origin, Pair, user_prompt
from selfboost.report import write_report
from selfboost.report.charts import Estimate, Frame, bars, curves, estimates, histogram, ticks
from selfboost.report.markup import Html, said, tag
from selfboost.report.material import Story, read_story
from selfboost.report.prompts import read_run_prompts
from selfboost.report.rounds import example
from selfboost.views.sentences import interval
from selfboost.views.summary import summary


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run(), tmp_path / "run"))


def change(root: Path, **values: object) -> None:
    write_json(root / "run.json", read_json(root / "run.json") | values)


def hostile_stage(root: Path) -> None:
    stage = store.Stage(root, "iteration-1/another", "prefer", {"a": 1})
    stage.append([evil_pair()])
    stage.finish(rows=1, tokens=1, seconds=1, result=store.ROWS, notes={"history": [{"step": 1, "loss": 1.0, EVIL: 2}]})


def sampled_stage(root: Path, name: str, texts: list[str], origin: Origin, *, answer: str = "") -> None:
    """A sampling stage of requests with the given texts."""
    stage = store.Stage(root, name, "sample", {"prompts": [name, texts]})
    prompts = [user_prompt(text, origin) for text in texts]
    answers = [Answer(prompt=p, text=answer or p.text, prompt_ids=(), token_ids=(1,), finish="stop") for p in prompts]
    stage.append(answers)
    stage.finish(rows=len(answers), tokens=1, seconds=1, result=store.ROWS, notes={})


def training_stage(root: Path, name: str, pairs: list[Pair], loss: float) -> None:
    stage = store.Stage(root, name, "prefer", {"name": name})
    stage.append(pairs)
    history = [{"step": step, "loss": loss, "chosen_logp": -loss, "rejected_logp": -2 * loss} for step in (1, 2)]
    stage.finish(rows=len(pairs), tokens=1, seconds=1, result=store.ROWS, notes={"history": history})


def searched(root: Path, *, trained_again: bool) -> Story:
    """The iteration's training replaced by a search for beta over its pairs, and perhaps a training on all."""
    folder = root / "stages" / "iteration-1" / "policy"
    card = store.read_card(folder)
    assert card is not None
    pairs = store.read_rows(root, card, Pair)
    shutil.rmtree(folder)
    training_stage(root, "iteration-1/beta-2/policy", pairs[:4], 0.2)
    training_stage(root, "iteration-1/beta-10/policy", pairs[2:], 0.5)
    if trained_again:
        training_stage(root, "iteration-1/policy", pairs, 0.7)
    told = read_json(root / "run.json")
    told["iterations"][1]["notes"] = {
        "beta_search": {"chosen": 10.0, "tried": {"2": 0.512, "10": 0.75}, "measure": "sampled"}
    }
    change(root, iterations=told["iterations"])
    story = read_story(root)
    assert len({pair.id for pair in pairs}) == len(pairs) == story.rounds[1].pairs.count
    assert len(story.rounds[1].pairs.gaps) in (0, len(pairs))
    return story


def test_the_page_of_a_run_is_self_contained_and_tells_its_truths(copy: Path) -> None:
    text, told = page_of(copy), summary(copy)
    last = told.iterations[-1].measures["sampled"]
    assert interval(last.gained, share=True, signed=True) in text
    assert "score of sampled answers (%); decides" in text
    assert "Held-out length of answers: " in text
    assert "8 held-out prompts" in text
    assert "one run with one seed" in text
    for card in store.cards(copy):
        assert card.name in text
        assert card.fingerprint in text
    assert 'kind = "spin"' in text.replace("&quot;", '"')
    assert "seed_sft" in text
    for part in (
        "log-probability per token",
        "Faults counted",
        "pairs, drawn at random",
        "Health",
        "chosen",
        "rejected",
    ):
        assert part in text


def test_writing_twice_gives_the_same_bytes(copy: Path) -> None:
    assert write_report(copy).read_bytes() == write_report(copy).read_bytes()


def test_hostile_text_is_shown_and_cannot_act(copy: Path) -> None:
    hostile_stage(copy)
    told = read_json(copy / "run.json")
    told["iterations"][1]["notes"] = {EVIL: {EVIL: 3}, "plain": EVIL}
    told["iterations"][1]["why"] = told["said"] = EVIL
    change(copy, iterations=told["iterations"], said=[EVIL], method=EVIL)
    text = page_of(copy)
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;" in text
    assert "\\x1b[31m\\u202e" in text
    assert not set(text) & {"\x1b", "\u202e", "\x00"}


def test_a_running_folder_one_without_measures_and_one_without_pairs_have_a_page(copy: Path) -> None:
    told = read_json(copy / "run.json")
    shutil.rmtree(copy / "stages" / "iteration-1" / "policy")
    page_of(copy)
    change(copy, status="running", iterations=told["iterations"][:1], beside=[])
    assert "The run is running" in page_of(copy)
    (copy / "run.json").unlink()
    assert "Nothing has been measured yet" in page_of(copy)


def test_a_run_that_broke_off_says_so_at_the_head(copy: Path) -> None:
    change(copy, status="failed", error="the scorer said <nothing>.")
    text = page_of(copy)
    shown = "The run failed: the scorer said &lt;nothing&gt;; rerun to resume. This page shows"
    assert 0 < text.index(shown) < text.index("<h2")


def test_gold_answers_are_the_seed_s_and_those_of_a_file_the_data_s(copy: Path) -> None:
    text = page_of(copy)
    assert "by the seed" in text
    assert "by given" not in text
    pair = read_story(copy).rounds[1].pairs.examples[0]
    assert pair.chosen.model == "given"
    manual = replace(pair, prompt=replace(pair.prompt, origin=Origin(source="manual")))
    assert "by the data" in example(manual)
    assert "by the seed" not in example(manual)


def test_other_measures_and_decisions_need_no_change(copy: Path) -> None:
    told = read_json(copy / "run.json")
    row = {"value": 7.5, "low": 7.0, "high": 7.9, "gain": -0.5, "gain_low": -0.9, "gain_high": -0.1}
    for entry in (*told["iterations"], *told["beside"]):
        entry["measures"] = {"turns": row, "unknown": dict.fromkeys(row)}
    change(copy, iterations=told["iterations"], beside=told["beside"], gate_measure="turns")
    text = page_of(copy)
    assert "the policy got worse: held-out turns went from 7.50 to 7.50, -0.50 [-0.90, -0.10]" in text
    told["iterations"][1]["decision"] = "kept"
    change(copy, iterations=told["iterations"], gate_measure="turns")
    assert "no candidate became the policy" in page_of(copy)


def test_a_damaged_stage_is_told_on_the_page(copy: Path) -> None:
    (copy / "stages" / "iteration-1" / "policy" / store.ROWS).write_text('{"half\n')
    assert "line 1: is no Pair (" in page_of(copy)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a run's folder"):
        write_report(tmp_path)


@given(st.text())
def test_any_text_stays_text(text: str) -> None:
    made = tag("p", text, title=text)
    element = ElementTree.fromstring(made)
    assert len(element) == 0
    assert not any(0xD800 <= ord(c) < 0xE000 or ord(c) in (0x1B, 0x202E) for c in made)
    made.encode()
    plain = re.sub(r"[^\w ]", "", text)
    if plain == text and text.isascii():
        assert element.text in (text, None)


def test_markup_is_escaped_once_and_only_if_it_is_not_markup() -> None:
    assert tag("b", "<", Html("<i/>")) == "<b>&lt;<i/></b>"
    assert tag("a", class_="x", stroke_width=2, id=None) == '<a class="x" stroke-width="2"></a>'
    assert "(nothing)" in said("")


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_round_few_and_inside(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 6
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in found)


def test_a_frame_maps_ends_to_ends() -> None:
    frame = Frame(0, 10, -1, 1)
    assert frame.x(0) < frame.x(5) < frame.x(10)
    assert frame.y(1) < frame.y(0) < frame.y(-1)
    assert frame.x(5) == pytest.approx((frame.x(0) + frame.x(10)) / 2)


@given(st.lists(st.one_of(st.integers(0, 300).map(float), st.floats(-50, 50)), min_size=1))
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    drawing = histogram({"gap": values}, x_label="gap")
    ElementTree.fromstring(drawing)
    counts = [int(found.replace(",", "")) for found in re.findall(r": ([\d,]+)</title>", drawing)]
    assert sum(counts) == len(values)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=5))
def test_curves_draw_what_is_finite(values: list[float]) -> None:
    drawing = curves({"loss": [(float(i), value) for i, value in enumerate(values)]})
    ElementTree.fromstring(drawing)
    assert "nan" not in drawing
    assert "inf" not in drawing.replace("finite", "")


def test_an_estimate_without_an_interval_and_a_hollow_one_are_drawn() -> None:
    points = [Estimate(x=0, value=0.5), Estimate(x=1, value=0.6, low=0.5, high=0.7, hollow=True)]
    drawing = estimates(points, [("a<b", 0.9)], share=True)
    assert "a&lt;b 90.0 %" in drawing
    assert drawing.count("hollow") == 1
    assert drawing.count("<circle") == 2
    estimates([replace(points[0], value=0.0)], [])


def test_bars_go_from_all_to_what_is_kept() -> None:
    drawing = bars({"kept": 2, "why not": 3, "candidates": 5})
    assert re.findall(r"row\">([^<]+)<", drawing) == ["candidates", "why not", "kept"]
    assert "width:100.0%" in drawing
    bars({})


@pytest.mark.parametrize("trained_again", [False, True])
def test_a_search_for_beta_counts_pairs_once_and_stands_apart(copy: Path, trained_again: bool) -> None:
    story = searched(copy, trained_again=trained_again)
    made = "iteration-1/policy" if trained_again else "iteration-1/beta-10/policy"
    assert [card.name for card in story.rounds[1].policy_trainings] == [made]
    tries = {card.name for card in story.rounds[1].tries}
    assert tries == {"iteration-1/beta-2/policy", "iteration-1/beta-10/policy"} - {made}
    text = page_of(copy)
    curves_of, _, search = text.partition("<summary>Beta search</summary>")
    assert ("beta-10/policy: loss" in search) == trained_again
    assert "beta-2/policy: loss" in search
    assert "beta-2/policy: loss" not in curves_of
    for cell in ('<td>beta 2</td><td class="number">0.512</td>', '<td>chosen</td><td class="number">10</td>'):
        assert cell in text
    assert "beta search: what became of them" not in text


def test_a_share_among_the_notes_is_a_sentence_and_a_number_among_counts_no_count(copy: Path) -> None:
    told = read_json(copy / "run.json")
    notes = {"filter": {"counts": {"kept": 3, "candidates": 9}}, "my_own": {"mean_gap": 0.25, "of_which": {"odd": 2}}}
    told["iterations"][1]["notes"] = notes | {"pair_yield": {"pass_rate": 0.3123, "missing_pairs": 4}}
    change(copy, iterations=told["iterations"])
    text = page_of(copy)
    assert "31.2 % of the candidate pairs passed the filter. 4 more were wanted." in text
    assert re.findall(r"row\">([^<]+)<", text.partition("filter: what became of them")[2])[:2] == ["candidates", "kept"]
    assert '<td>mean gap</td><td class="number">0.25</td>' in text
    assert "<figcaption>my own</figcaption>" in text
    assert "<figcaption>my own: of which</figcaption>" in text
    assert "<td>pass rate</td>" not in text


def test_written_prompts_are_compared_with_the_seed_and_with_plain_self_instruct(copy: Path) -> None:
    assert "Prompts: how new" not in page_of(copy)
    new = [f"name {i} fruits of the river" for i in range(50)]
    keywords = Origin(source="prompts", iteration=1, keywords=("river", "name"))
    sampled_stage(copy, "iteration-1/drafts", new, keywords)
    sampled_stage(copy, "iteration-1/refined", ["rewrite this"], Origin(source="rewrite"))
    story = read_story(copy)
    assert set(story.prompts.iterations[1]) == set(new)
    assert len(story.prompts.seed) == 24
    text = page_of(copy)
    assert "written by this run: the 1 commonest of 1 intentions" in text
    assert re.search(r"all keywords held %</td><td class=\"number\"></td><td class=\"number\">100.0<", text)
    assert "mean similarity by iteration" not in text
    sampled_stage(copy, "prepare/self-instruct", ["wish"] * 3, Origin(source="shown"), answer="Why not?")
    assert set(read_story(copy).prompts.self_instruct) == {"Why not?"}
    assert "Too few to compare, 20 are needed: self-instruct (1 prompts)." in page_of(copy)


def test_prompts_of_pairs_count_where_nothing_was_sampled_and_damage_is_told(copy: Path) -> None:
    hostile_stage(copy)
    assert set(read_story(copy).prompts.iterations[1]) == {f"ask {EVIL}"}
    assert "written by this run (1 prompts)" in page_of(copy)
    sampled_stage(copy, "iteration-1/drafts", ["a"], Origin(source="prompts", iteration=1))
    (copy / "stages" / "iteration-1" / "drafts" / store.ROWS).write_text("{half\n")
    assert "line 1: is no Prompted (" in page_of(copy)


def test_iterations_are_compared_where_there_are_several(copy: Path) -> None:
    told = read_json(copy / "run.json")
    second = told["iterations"][1] | {"iteration": 2}
    change(copy, iterations=[*told["iterations"], second])
    for number, kind in ((1, "name"), (2, "count")):
        texts = [f"{kind} {i} things" for i in range(30)]
        sampled_stage(copy, f"iteration-{number}/drafts", texts, Origin(source="prompts", iteration=number))
    text = page_of(copy)
    assert "mean similarity by iteration, 24 prompts of each" in text
    assert "within the seed" in text


def test_measured_prompts_stand_for_a_seed_that_no_stage_holds(tmp_path: Path) -> None:
    sampled_stage(tmp_path, "iteration-0/held_out-sampled", ["asked"], Origin(source="held_out"))
    sampled_stage(tmp_path, "iteration-1/drafts", ["new"], Origin(source="prompts", iteration=1))
    found = read_run_prompts(tmp_path, store.cards(tmp_path), {1: []})
    assert (found.seed_name, list(found.seed), list(found.iterations[1])) == ("measured prompts", ["asked"], ["new"])
    sampled_stage(tmp_path, "iteration-1/seed-answers", ["gold"], Origin(source="seed"))
    found = read_run_prompts(tmp_path, store.cards(tmp_path), {1: []})
    assert (found.seed_name, list(found.seed)) == ("seed", ["gold"])
