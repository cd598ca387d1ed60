"""`selfboost try`: every stage of one iteration on a few prompts, with samples, faults and a verdict."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fake_recipes import METHODS, write_recipe
from selfboost import cli, recipe
from selfboost.demo import EMBEDDED_MODEL
from selfboost.new_component import write_new_component
from selfboost.records import Answer, Origin, Sampling, user_prompt
from selfboost.stages import Silent
from selfboost.train import Training
from selfboost.trial import Trial, faults_of, try_recipe
from selfboost.trial.reduced import Scale, reduced
from selfboost.trial.samples import samples

SHIPPED = recipe.shipped()


def tried(path: Path, into: Path, *settings: str, prompts: int = 10) -> Trial:
    """A trial of a recipe."""
    return try_recipe(recipe.read(path, settings), into, Silent(), prompts)


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The command's exit code, what it printed, and its one sentence."""
    with pytest.raises(SystemExit) as end:
        cli.main(["try", *map(str, arguments)])
    written = capsys.readouterr()
    sentences = [line for line in written.err.splitlines() if line.startswith("selfboost: ")]
    assert "Traceback" not in written.err
    return int(end.value.code or 0), written.out, "".join(sentences)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_tried_and_shown(method: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = write_recipe(tmp_path, method)
    code, said, error = call(capsys, path, "--prompts", 6)
    assert (code, error) == (0, "")
    assert "Every stage works" in said
    assert max(map(len, said.partition("\nNext:")[0].splitlines())) <= 80
    assert "Sample 1" in said
    assert ("policy" in said) == (method != "seed_sft")


def test_a_method_of_ones_own_is_tried(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = write_new_component("method", "my_tried", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    code, said, _ = call(capsys, path, "--trust", "my_tried")
    assert code == 0
    assert re.search(r"Every stage works; \d+ of \d+ candidate pairs", said)
    assert said.endswith(f"selfboost run {path} --into {tmp_path / 'out'} --trust my_tried\n")
    sys.modules.pop("my_tried", None)


def test_what_becomes_of_each_candidate_is_what_the_filter_counts(tmp_path: Path) -> None:
    found = tried(write_recipe(tmp_path), tmp_path / "trial")
    seen = found.seen
    counts = dict(seen.counts["filter"])
    assert counts.pop("candidates") == len(seen.candidates)
    assert counts.pop("kept") >= len(seen.trained)
    reasons = list(seen.dropped.values())
    assert counts == {reason: reasons.count(reason) for reason in reasons}
    assert not seen.trained & seen.dropped.keys()


def test_samples_lead_from_the_keywords_to_the_pair(tmp_path: Path) -> None:
    found = tried(write_recipe(tmp_path), tmp_path / "trial")
    sample = next(sample for sample in samples(found) if sample.outcome == "kept")
    assert [line.name for line in sample.lines()] == [
        *("keywords", "prompt", "drafts", "refined", "initial-answers", "scores", "pair")
    ]
    by_stage = dict(sample.answers)
    assert by_stage["refined"].prompt.origin.parent == by_stage["drafts"].id
    assert sample.pair is not None
    assert sample.pair.rejected.id == by_stage["initial-answers"].id


def test_a_trial_leaves_what_is_tried_as_it_is() -> None:
    for name in SHIPPED:
        whole = recipe.read(SHIPPED[name])
        small = reduced(whole, Scale(prompts=10, all_seeds=5000, parameters=10**9))
        for part in ("model", "seed", "loss", "scorer", "engine", "trainer", "cluster", "gate"):
            assert getattr(small, part) == getattr(whole, part)
        assert type(small.method) is type(whole.method)
        assert small.run.iterations == 1
        assert small.training.learning_rate == whole.training.learning_rate
        assert small.training.max_length == whole.training.max_length
        assert small.training.epochs <= whole.training.epochs
        assert small.training.stop_after <= small.training.epochs


def test_trainings_are_as_long_as_is_cheap() -> None:
    whole = recipe.read(SHIPPED["demo"], ["seed_models.sft.epochs=3", "seed_models.sft.batch_size=32"])

    def sft(parameters: int, seeds: int = 1000) -> Training:
        return reduced(whole, Scale(prompts=10, all_seeds=seeds, parameters=parameters)).seed_models.sft

    assert (sft(0).epochs, sft(0).batch_size) == (1, 4), "an unknown model: once over the trial's seeds"
    assert sft(10**6).epochs == 6, "no more passes than a few"
    assert sft(400 * 10**6).epochs == 3, "24e9 / 400e6 = 60 examples, 20 seeds"
    assert sft(70 * 10**9).epochs == 1
    assert sft(10**6, seeds=20).epochs == 3, "never longer than the run's"


def test_without_a_new_prompt_the_seeds_are_answered(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    code, said, _ = call(capsys, path, "--set", "method.generator.question='never (written)'")
    assert code == 0
    assert "no question found" in said
    assert "no new prompt gave a pair" in said
    assert re.search(r"^refined +\d+ ", said, re.MULTILINE), "the stages after it were tried"


def test_a_recipe_that_cannot_work_is_refused_with_the_setting(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_recipe(tmp_path)
    code, said, error = call(capsys, path, "--set", "method.filter.threshold=1e9")
    assert code == 2
    assert "method.filter" in error
    assert "score gap below the threshold" in said
    assert f"selfboost try {path} --set method.filter.threshold=1e9" in said


def test_a_loud_fault_names_its_setting(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, said, _ = call(capsys, write_recipe(tmp_path, "spin"), "--set", "method.sampling.max_tokens=8")
    assert code == 0
    assert "candidate pairs were trained on, but:\n" in said
    fault = "- cut at max_tokens = 8: own-answers 10 of 10; raise method.sampling.max_tokens if they need more"
    assert fault in " ".join(said.split())


def test_faults_of_an_answer() -> None:
    made = Answer(
        prompt=user_prompt("Why?", Origin(source="seed")),
        text="So.",
        prompt_ids=(1,),
        token_ids=(2, 3),
        finish="length",
        sampling=Sampling(max_tokens=2),
    )
    assert list(faults_of(made)) == ["cut at max_tokens = 2"]
    assert list(faults_of(replace(made, sampling=Sampling(max_tokens=9)))) == ["cut at the end of the model's context"]
    assert list(faults_of(replace(made, finish="failed", reason="no room"))) == ["failed: no room"]
    assert list(faults_of(replace(made, finish="stop", text=" "))) == ["empty"]


def test_hidden_characters_are_shown_as_escapes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "spin")
    seed = path.parent / "seed.jsonl"
    seed.write_text(seed.read_text().replace("Compare", r"\u001b[31mCompare\u202e"))
    _, said, _ = call(capsys, path)
    assert "\\x1b[31mCompare\\u202e" in said
    assert "\x1b" not in said


def test_the_folder_is_kept_if_asked_for_and_never_a_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "spin")
    assert call(capsys, path, "--into", tmp_path / "trial")[0] == 0
    assert recipe.read(tmp_path / "trial" / "recipe.toml").run.iterations == 1
    assert (tmp_path / "trial" / "stages" / "iteration-1" / "policy" / "records.jsonl").exists()
    code, _, error = call(capsys, path, "--into", tmp_path / "trial")
    assert code == 2
    assert error == f"selfboost: {tmp_path / 'trial'}: is not empty; a trial needs a new folder (--into)"


@pytest.mark.parametrize("prompts", ["0", "1", "1001", "ten", "-5"])
def test_a_wrong_number_of_prompts_is_refused(prompts: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["try", "smoke", f"--prompts={prompts}"])
    assert "must be a whole number from 2 to 1,000" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not (EMBEDDED_MODEL / "model.safetensors").exists(), reason="the embedded model is not built here")
@pytest.mark.parametrize("name", ["smoke", "demo-dnpo"])
def test_the_embedded_model_is_tried(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = call(capsys, name)
    assert code == 0
    assert "Every stage works" in said
    assert "kept" in said
