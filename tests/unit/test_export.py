"""Exports: a model that answers as the run's does, its card, the pairs, all records; complete or not there."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from small_run import EVIL, evil_pair, finished_run, make_run
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfboost import cli, recipe, store
from selfboost.data.preferences import read_preferences
from selfboost.engines.local import Local
from selfboost.export import ExportRequest, export
from selfboost.export.licence import licence_of
from selfboost.export.model_card import pairs_card, self_judging
from selfboost.export.pairs import PairCounts
from selfboost.export.parquet import KINDS, row_of, schema_of, write_parquet
from selfboost.loop import boost
from selfboost.measuring.request import MeasureRequest, planned
from selfboost.records import Pair
from selfboost.results.differing import differing
from selfboost.results.models import find_model, model_at, parted
from selfboost.stages import Silent
from selfboost.views.comparison import compare
from selfboost.views.summary import summary


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, arguments)])
    assert end.value.code == 2
    return capsys.readouterr().err


def test_an_exported_model_is_the_runs_with_its_card_and_pairs(tmp_path: Path) -> None:
    root = finished_run()
    made = export(ExportRequest(root=root, to=tmp_path / "made"))
    assert (made / "fake.json").read_bytes() == (Path(find_model(root).path) / "fake.json").read_bytes()
    card, run = (made / "README.md").read_text(), summary(root)
    gate = run.iterations[1].measures["sampled"]
    assert f"{100 * (gate.value or 0):.1f} \\[{100 * (gate.low or 0):.1f}, {100 * (gate.high or 0):.1f}\\]" in card
    stage = store.read_card(root / "stages/iteration-1/policy")
    assert stage is not None
    assert stage.parts["pairs"] in card
    assert "| `run.iterations` | `1` |" in card
    assert "run.patience" not in card
    assert "Licence of the base model `fake`: not stated." in card
    found, wrong, _ = read_preferences(made / "pairs/data/train-00000-of-00001.parquet")
    rows = pq.read_table(made / "pairs/data").to_pylist()
    pairs = {pair.id: pair for pair in store.read_rows(root, stage, Pair)}
    assert (len(found), wrong) == (len(pairs), 0)
    assert {row["id"]: (row["chosen"][0]["content"], row["rejected_score"], row["prompt_source"]) for row in rows} == {
        name: (pair.chosen.text, pair.rejected_score, pair.prompt.origin.source) for name, pair in pairs.items()
    }


def test_every_stage_is_a_table_with_all_that_its_records_hold(tmp_path: Path) -> None:
    root = finished_run()
    made = export(ExportRequest(root=root, to=tmp_path / "all", what="parquet"))
    cards = store.cards(root)
    assert {str(path.relative_to(made)) for path in made.rglob("*.parquet")} == {
        f"{card.name}.parquet" for card in cards
    }
    assert {card.verb for card in cards} == set(KINDS)
    for card in cards:
        rows = pq.read_table(made / f"{card.name}.parquet", partitioning=None).to_pylist()
        wanted = [row_of(record) for record in store.read_rows(root, card, KINDS[card.verb])]
        assert json.loads(json.dumps(rows)) == json.loads(json.dumps(wanted))


def test_a_candidate_that_was_not_promoted_is_found_by_what_was_measured(tmp_path: Path) -> None:
    root = make_run(tmp_path, None, "gate.rule=better", "gate.margin=0", "run.iterations=2", "training.epochs=0.2")
    entries = summary(root).iterations
    assert "kept" in {entry.decision for entry in entries}
    for entry in entries[1:]:
        model = find_model(root, str(entry.iteration))
        assert Path(model.path) == root / f"stages/iteration-{entry.iteration}/policy/model"
    best = next(entry for entry in reversed(entries) if entry.decision != "kept")
    assert find_model(root).entry.iteration == best.iteration
    assert model_at(f"{root}@0") == "fake"
    assert model_at("owner/name") == "owner/name"
    with pytest.raises(ValueError, match="is not a run's folder"):
        model_at("owner/name@best")


def test_an_address_is_a_folder_if_there_is_one_of_that_name(tmp_path: Path) -> None:
    assert parted("runs/x@3") == (Path("runs/x"), "3")
    assert parted("runs/x@best") == (Path("runs/x"), "best")
    assert parted("me@home") == (Path("me@home"), "")
    (tmp_path / "x@3").mkdir()
    assert parted(str(tmp_path / "x@3")) == (tmp_path / "x@3", "")


def test_nothing_is_overwritten_and_nothing_is_left_of_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, target = finished_run(), tmp_path / "there"
    target.mkdir()
    cases = {
        ("--to", target): "already exists; choose another folder with --to",
        ("--to", tmp_path / "no" / "x"): "create it first",
        ("--to", tmp_path / "x", "--iteration", 7): "no such iteration; allowed: best, or 0 to 1",
        ("--to", tmp_path / "x", "--iteration", 0): "which this run did not make",
        ("--to", tmp_path / "x", "--iteration", "last"): "must be an iteration's number, or best",
        ("--to", tmp_path / "x", "--adapter"): "was trained in full, so there is no adapter",
        ("--to", tmp_path / "x", "--pairs", "--parquet"): "give one of them",
        ("--to", tmp_path / "x", "--pairs", "--iteration", 1): "--pairs is of the whole run",
    }
    for arguments, words in cases.items():
        assert words in refused(capsys, "export", root, *arguments), arguments
    assert "is not a run's folder" in refused(capsys, "export", target)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_damaged_model_and_one_that_leads_elsewhere_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "run"
    shutil.copytree(finished_run(), root)
    weights = root / "stages/iteration-1/policy/model/fake.json"
    weights.write_text(weights.read_text() + " ")
    assert "is not what the stage wrote" in refused(capsys, "export", root)
    weights.unlink()
    shutil.copy(finished_run() / weights.relative_to(root), tmp_path / "elsewhere.json")
    weights.symlink_to(tmp_path / "elsewhere.json")
    assert "is a symbolic link" in refused(capsys, "export", root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere.json", "run"]


def test_an_adapter_is_exported_alone_and_names_its_base(tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(finished_run(), root)
    adapter = root / "stages/iteration-1/policy/model/adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"r": 4, "base_model_name_or_path": null}')
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    alone = export(ExportRequest(root=root, what="adapter"))
    assert alone == tmp_path / "run-adapter"
    assert {path.name for path in alone.iterdir()} == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert json.loads((alone / "adapter_config.json").read_text()) == {"r": 4, "base_model_name_or_path": "fake"}
    assert "It belongs on the initial model." in (alone / "README.md").read_text()
    assert not (export(ExportRequest(root=root)) / "adapter").exists()


def test_a_judge_that_chose_pairs_and_rated_results_is_named() -> None:
    root, counts = finished_run(), PairCounts()
    counts.scorers["checks(selfboost.engines.fake:is_good)"] += 1
    assert self_judging(root, counts) == ["checks(selfboost.engines.fake:is_good)"]
    assert self_judging(root, PairCounts()) == []


def test_hostile_texts_mean_nothing_in_a_card_and_survive_in_a_table(tmp_path: Path) -> None:
    pair, counts = evil_pair(), PairCounts()
    write_parquet(tmp_path / "evil.parquet", [row_of(pair)], schema_of(Pair))
    (row,) = pq.read_table(tmp_path / "evil.parquet").to_pylist()
    assert row["chosen"]["text"] == f"yes {EVIL}"
    counts.add(pair)
    counts.by_source[f"`{EVIL}`|x"] += 1
    card = pairs_card(summary(finished_run()), counts)
    assert "\x1b" not in card
    assert "\u202e" not in card
    assert "\\|x` | 1 |" in card


def test_the_licence_is_the_one_that_the_base_states(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"license": "apache-2.0"}')
    assert licence_of(str(tmp_path)) == "apache-2.0"
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# x\n")
    assert licence_of(str(tmp_path)) == "cc-by-nc-4.0"
    (tmp_path / "README.md").write_text("---\nlicense:\n  - mit\n---\n# x\n")
    assert licence_of(str(tmp_path)) == "mit"
    assert licence_of("embedded") == licence_of("no/such-model") == "not stated"


def test_settings_at_their_default_are_left_out() -> None:
    table = {
        "loss": {"kind": "simpo", "beta": 2.0, "gamma": 1.6, "nll_weight": 0.5},
        "seed_models": {"sft": {"learning_rate": 1e-6, "epochs": 2}},
        "scorer": {"kind": "mine:Mine", "limit": 3},
        "run": {"seed": 0, "beside": [], "drift": {"prompts": 5}},
    }
    found = differing(table)
    assert {each.name: each.value for each in found} == {
        "loss.kind": "simpo",
        "loss.nll_weight": 0.5,
        "seed_models.sft.epochs": 2,
        "scorer.kind": "mine:Mine",
        "scorer.limit": 3,
        "run.drift.prompts": 5,
    }
    defaults = {each.name: each.default for each in found}
    assert (defaults["loss.nll_weight"], defaults["loss.kind"], defaults["run.drift.prompts"]) == (0.0, None, 0)


@pytest.mark.slow
def test_an_exported_model_loads_anywhere_and_answers_the_same(tmp_path: Path) -> None:
    root = tmp_path / "run"
    boost(recipe.read(recipe.find("smoke"), ["run.iterations=1", "run.beside=[]"]), root, Silent())
    made = export(ExportRequest(root=root, to=tmp_path / "made"))
    kept = find_model(root).path
    assert greedy(str(made)) == greedy(kept)
    assert Local().fingerprint(str(made)) == Local().fingerprint(kept)


def greedy(folder: str) -> list[str]:
    """Two greedy answers, by transformers alone."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    given = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}
    said: list[str] = []
    for text in ("what is 3 and 4 ?", "write about bus and end with done ."):
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": text}], **given)
        said.append(tokenizer.decode(model.generate(**prompt, do_sample=False, max_new_tokens=20)[0]))
    return said


def test_iterations_are_compared_and_measured_by_their_addresses() -> None:
    root = finished_run()
    first, last = Path(f"{root}@0"), Path(f"{root}@1")
    found = compare(first, last)["sampled"].difference
    assert found.value == pytest.approx(summary(root).iterations[1].measures["sampled"].gain)
    with pytest.raises(ValueError, match="allowed: best, or 0 to 1"):
        compare(first, Path(f"{root}@2"))
    measured = planned(
        MeasureRequest(
            model=f"{root}@1",
            benchmark="held_out",
            settings=("engine.kind=fake", "trainer.kind=fake"),
            recipe=str(root / "recipe.toml"),
            against=f"{root}@0",
        ),
        print,
    )
    assert (measured.name, measured.recipe.model.path) == (f"{root}@1", find_model(root).path)
    assert measured.second().recipe.model.path == "fake"
