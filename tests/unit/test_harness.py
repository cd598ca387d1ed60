"""The benchmark `harness` on real tests and a real tiny model: lm-evaluation-harness's own numbers, item by item."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from real_data import real
from selfboost import Measure, read_recipe
from selfboost.benchmarks.harness import Harness
from selfboost.benchmarks.parts import evaluation
from selfboost.benchmarks.parts.own_items import of_split
from selfboost.benchmarks.parts.protocols import PRESETS
from selfboost.benchmarks.parts.task_files import FORMATS, format_of, name_of
from selfboost.cli import main
from selfboost.data.rows import rows_of
from selfboost.engines.local import Local
from selfboost.measuring.measurement import measure
from selfboost.measuring.request import MeasureRequest, planned
from selfboost.measuring.stored import Measurement
from selfboost.plan import plan
from selfboost.records import Model, Rated
from selfboost.stages import Silent
from selfboost.train import Sequenced
from selfboost.train.local import Local as Trainer

FILES = ("arc_challenge.jsonl.gz", "winogrande.jsonl.gz", "truthfulqa.jsonl.gz", "hellaswag_val_subset1000.jsonl.gz")
LIMIT = 4


def files() -> tuple[str, ...]:
    return tuple(str(real(f"eval/{name}")) for name in FILES)


def tiny() -> str:
    return str(real("model/stories260K-hf"))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measurement:
    pytest.importorskip("lm_eval", reason="the extra `eval` is not installed")
    settings = (f"benchmark.limit={LIMIT}", "run.threads=1")
    request = MeasureRequest(model=tiny(), benchmark="harness", tasks=files(), settings=settings)
    return measure(planned(request, print), tmp_path_factory.mktemp("measured"), Silent())


def test_real_tests_give_each_task_a_figure_of_its_own(measured: Measurement) -> None:
    assert list(measured.figures) == [
        "arc_challenge",
        "arc_challenge/acc",
        "winogrande",
        "truthfulqa",
        "hellaswag_val_subset1000",
        "hellaswag_val_subset1000/acc",
    ]
    for name, found in measured.figures.items():
        assert found.n == LIMIT, name
        assert 0 <= found.low < found.value < found.high <= 1 or found.value in (0, 1), name
    assert len(measured.items) == len({item.prompt for item in measured.items}) == 4 * LIMIT
    truth = [item.values["truthfulqa"][0] for item in measured.items if item.values["truthfulqa"]]
    assert all(value is not None and 0 < value < 1 for value in truth), "the mass on true answers"
    assert f"lm_eval {evaluation.release()}" in measured.environment.libraries
    assert measured.stages["measured/harness-winogrande"].parts["inputs"]["content"]


def test_the_numbers_are_those_of_the_harness_itself(measured: Measurement, tmp_path: Path) -> None:
    """ARC as Hugging Face has it, through the harness's public function on its own loading of the model."""
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    rows = [row for _, row in rows_of(real("eval/arc_challenge.jsonl.gz"))][:LIMIT]
    (tmp_path / "arc.jsonl").write_text("".join(json.dumps(huggingface_arc(row)) + "\n" for row in rows))
    lines = [
        f"include: {Path(lm_eval.__file__).parent / 'tasks/arc/arc_challenge.yaml'}",
        "task: own_arc",
        "dataset_path: json",
        "dataset_name: null",
        f"dataset_kwargs: {{data_files: {{test: {tmp_path / 'arc.jsonl'}}}, cache_dir: {tmp_path / 'cache'}}}",
        "training_split: null",
        "validation_split: null",
    ]
    (tmp_path / "own_arc.yaml").write_text("\n".join(lines))
    found = lm_eval.simple_evaluate(
        model=HFLM(pretrained=tiny(), device="cpu", dtype="float32", batch_size=16),
        tasks=["own_arc"],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        bootstrap_iters=0,
    )
    for metric, name in (("acc_norm", "arc_challenge"), ("acc", "arc_challenge/acc")):
        assert measured.figures[name].value == pytest.approx(found["results"]["own_arc"][f"{metric},none"])
        theirs = [sample[metric] for sample in found["samples"]["own_arc"]]
        ours = [item.values[name][0] for item in measured.items if item.values[name]]
        assert ours == theirs
    hashes = [sample["doc_hash"][: evaluation.HASH_DIGITS] for sample in found["samples"]["own_arc"]]
    assert [i.prompt for i in measured.items if i.values["arc_challenge"]] == [f"arc_challenge:{h}" for h in hashes]


def huggingface_arc(row: Any) -> dict[str, Any]:
    labels = "ABCDE"[: len(row["choices"])]
    return {
        "question": row["query"].removeprefix("Question: "),
        "choices": {"text": row["choices"], "label": list(labels)},
        "answerKey": labels[row["gold"]],
    }


def test_accuracy_follows_from_the_raw_log_probabilities_of_our_own_code(measured: Measurement) -> None:
    """No code of the harness: the trainer's log-probabilities of each choice's tokens, added up and compared."""
    model = Model(name="tiny", path=tiny(), fingerprint="")
    tokenizer = Local().tokenizer(model).raw
    right: dict[str, list[float]] = {"arc_challenge": [], "arc_challenge/acc": []}
    for _, row in list(rows_of(real("eval/arc_challenge.jsonl.gz")))[:LIMIT]:
        context = f"{row['query']}\nAnswer:"
        start = tokenizer(context)["input_ids"]
        wholes = [tokenizer(f"{context} {choice}")["input_ids"] for choice in row["choices"]]
        parts = [Sequenced(prompt_ids=tuple(start), token_ids=tuple(whole[len(start) :])) for whole in wholes]
        sums = [sum(logps) for logps in Trainer().logps(model, parts)]
        per_character = [total / len(choice) for total, choice in zip(sums, row["choices"], strict=True)]
        right["arc_challenge/acc"].append(float(sums.index(max(sums)) == row["gold"]))
        right["arc_challenge"].append(float(per_character.index(max(per_character)) == row["gold"]))
    for name, values in right.items():
        assert [item.values[name][0] for item in measured.items if item.values[name]] == values
        assert measured.figures[name].value == pytest.approx(sum(values) / len(values))


def test_a_stopped_measurement_resumes_after_the_finished_tasks(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="the extra `eval` is not installed")
    request = MeasureRequest(
        model=tiny(), benchmark="harness", tasks=files()[:2], settings=("benchmark.limit=2", "run.threads=1")
    )
    heard = Starts(stop_at="winogrande")
    with pytest.raises(KeyboardInterrupt):
        measure(planned(request, print), tmp_path, heard)
    assert heard.names == ["measured/harness-arc_challenge", "measured/harness-winogrande"]
    again = Starts()
    found = measure(planned(request, print), tmp_path, again)
    assert again.names == ["measured/harness-winogrande"]
    assert {name.partition(":")[0] for name in (item.prompt for item in found.items)} == {"arc_challenge", "winogrande"}


class Starts(Silent):
    """Notes the stages that are begun, and stops one."""

    def __init__(self, stop_at: str = "") -> None:
        self.names: list[str] = []
        self._stop_at = stop_at

    def started(self, stage: str, verb: str, total: int) -> None:
        self.names.append(stage)
        assert total == 2
        if self._stop_at and stage.endswith(self._stop_at):
            raise KeyboardInterrupt


# Task files.


def test_winogrande_is_put_together_as_it_was() -> None:
    kind = format_of(files()[1])
    for where, row in rows_of(Path(files()[1])):
        made = kind.rewritten(row)
        before, _, after = made["sentence"].partition("_")
        assert [before + made[f"option{i}"] for i in (1, 2)] == row["context_options"], where
        assert after.strip() == row["continuation"].strip(), where
        assert int(made["answer"]) == row["gold"] + 1


@pytest.mark.parametrize(
    ("file", "task"),
    [
        ("arc_challenge.jsonl.gz", "arc_challenge"),
        ("openbook_qa.jsonl.gz", "openbookqa"),
        ("winogrande.jsonl.gz", "winogrande"),
        ("hellaswag_val_subset1000.jsonl.gz", "hellaswag"),
        ("truthfulqa.jsonl.gz", "truthfulqa_mc2"),
        ("mmlu_test.jsonl.gz", "mmlu"),
        ("gsm8k_test.jsonl.gz", "gsm8k"),
    ],
)
def test_every_row_of_every_real_file_has_the_columns_of_its_task(file: str, task: str) -> None:
    path = real(f"eval/{file}")
    kind = format_of(str(path))
    assert kind.task == task
    for _, row in rows_of(path):
        made = kind.rewritten(row)
        assert made, "raises where a row is wrong"
        if task == "truthfulqa_mc2":
            assert made["mc1_targets"]["choices"][0] == row["Best Answer"].strip()
            assert sum(made["mc2_targets"]["labels"]) == len(
                [a for a in row["Correct Answers"].split(";") if a.strip()]
            )


def test_names_of_tasks() -> None:
    assert name_of("mmlu") == "mmlu"
    assert name_of("/data/arc challenge.jsonl.gz") == "arc_challenge"
    assert name_of("x/own.task.yaml") == "own.task"
    assert len({each.task for each in FORMATS}) == len(FORMATS)


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


GOOD = {"query": "Question: what?", "choices": ["a", "b"], "gold": 1}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "is empty"),
        ([{"text": "abc"}], "line 1: columns text are of no known task; allowed: query, choices, gold"),
        ([GOOD, {**GOOD, "gold": 2}], r"line 2: needs query, choices, gold .* 2 is not one of 2 choices"),
        ([GOOD, {**GOOD, "gold": True}], "True is not one of 2 choices"),
        ([GOOD, {**GOOD, "choices": ["a"]}], "fewer than two choices"),
        ([GOOD, {**GOOD, "choices": "ab"}], "line 2: needs"),
        ([GOOD, {"query": "Question: what?"}], "line 2: needs"),
        ([{"subject": "../x", "question": "q", "choices": list("abcd"), "answer": 0}], "is no subject of MMLU"),
        ([{"subject": "anatomy", "question": "q", "choices": list("abc"), "answer": 0}], "3 choices, not 4"),
    ],
)
def test_a_wrong_task_file_is_refused_in_one_sentence(rows: list[Any], words: str, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="the extra `eval` is not installed")
    request = MeasureRequest(model=tiny(), benchmark="harness", tasks=(write(tmp_path / "task.jsonl", *rows),))
    with pytest.raises(ValueError, match=words) as error:
        measure(planned(request, print), tmp_path / "out", Silent())
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_not_json(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "absent.jsonl", "no such file"), (tmp_path, "is a folder or another kind of file")):
        with pytest.raises(ValueError, match=words):
            measured_tasks(tmp_path, str(path))
    (tmp_path / "torn.jsonl").write_text("{")
    with pytest.raises(ValueError, match=r"torn\.jsonl line 1"):
        measured_tasks(tmp_path, str(tmp_path / "torn.jsonl"))
    (tmp_path / "torn.jsonl.gz").write_bytes(gzip.compress(b"{}")[:-4])
    with pytest.raises(ValueError, match=r"torn\.jsonl\.gz"):
        measured_tasks(tmp_path, str(tmp_path / "torn.jsonl.gz"))


def measured_tasks(folder: Path, *tasks: str, model: str = "", settings: tuple[str, ...] = ()) -> Measurement:
    pytest.importorskip("lm_eval", reason="the extra `eval` is not installed")
    request = MeasureRequest(model=model or tiny(), benchmark="harness", tasks=tasks, settings=settings)
    return measure(planned(request, print), folder / "out", Silent())


@pytest.mark.slow  # the harness reads all its 13,000 configurations
def test_an_unknown_task(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"benchmark.tasks: 'arc_chalenge': .* no such task \(did you mean"):
        measured_tasks(tmp_path, "arc_chalenge")


def test_an_unknown_metric(tmp_path: Path) -> None:
    task = write(tmp_path / "task.jsonl", GOOD)
    with pytest.raises(ValueError, match=r"has no metric 'bleu'; it has acc, acc_norm"):
        measured_tasks(tmp_path, f"{task}:bleu")


def test_an_engine_without_a_transformers_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the engine Fake holds no transformers model; use engine\.kind = 'local'"):
        measured_tasks(
            tmp_path,
            write(tmp_path / "task.jsonl", GOOD),
            model="fake",
            settings=("engine.kind=fake", "trainer.kind=fake"),
        )


def test_without_the_extra_one_sentence_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", absent)
    request = MeasureRequest(model=tiny(), benchmark="harness", tasks=(write(tmp_path / "task.jsonl", GOOD),))
    with pytest.raises(ValueError, match=r"benchmark.kind = 'harness': needs .* pip install 'selfboost\[eval\]'"):
        measure(planned(request, print), tmp_path / "out", Silent())


def absent(name: str) -> str:
    from importlib.metadata import PackageNotFoundError

    raise PackageNotFoundError(name)


# Settings.


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "tasks: is empty; name tasks or files, or set preset: leaderboard_v1, synpo, dnpo"),
        ({"tasks": ("a/x.jsonl", "b/x.jsonl")}, "x is named twice"),
        ({"tasks": ("x.yaml",)}, "x.yaml is YAML, which can run code"),
        ({"tasks": ("x.jsonl",), "shots": 5}, "holds no examples to show"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Harness(**settings)


def test_yaml_needs_trust(tmp_path: Path) -> None:
    settings = ('benchmark.tasks=["x.yaml"]', "benchmark.trust_remote_code=true")
    with pytest.raises(ValueError, match="trust_remote_code = true: would run Python files"):
        planned(MeasureRequest(model="m", benchmark="harness", settings=settings), print)
    trusted = planned(MeasureRequest(model="m", benchmark="harness", settings=settings, trust=("remote-code",)), print)
    assert isinstance(trusted.recipe.benchmark, Harness)


def test_the_published_protocols() -> None:
    """Shots and metrics of the Open LLM Leaderboard (the harness's own group `openllm`), SynPO and DNPO."""
    shots = {name: task.shots for name, task in PRESETS["leaderboard_v1"].tasks.items()}
    assert shots == {
        "arc_challenge": 25,
        "hellaswag": 10,
        "truthfulqa_mc2": 0,
        "mmlu": 5,
        "winogrande": 5,
        "gsm8k": 5,
    }
    further = PRESETS["synpo"].tasks.keys() - shots.keys()
    assert further == {"openbookqa", "haerae", "mathqa", "xnli", "toxigen", "prost"}
    assert all(PRESETS["synpo"].tasks[name].shots == 5 for name in further)
    assert PRESETS["dnpo"].tasks == PRESETS["leaderboard_v1"].tasks
    templates = {name: preset.chat_template for name, preset in PRESETS.items()}
    assert templates == {"leaderboard_v1": False, "synpo": False, "dnpo": True}


def test_the_presets_agree_with_the_harnesss_own_group() -> None:
    """What is read from lm-evaluation-harness's files is what the table says."""
    lm_eval = pytest.importorskip("lm_eval", reason="the extra `eval` is not installed")
    yaml = pytest.importorskip("yaml")
    group = yaml.safe_load((Path(lm_eval.__file__).parent / "tasks/benchmarks/openllm.yaml").read_text())
    theirs = {entry["task"]: entry["num_fewshot"] for entry in group["task"]}
    ours = {name.removesuffix("_mc2"): task.shots for name, task in PRESETS["leaderboard_v1"].tasks.items()}
    assert ours == theirs


def test_measures_by_name() -> None:
    found = Harness(preset="dnpo", tasks=("gsm8k", "boolq", "own:f1")).measures
    assert found["gsm8k"] == Measure(
        title="gsm8k: exact_match,strict-match", unit="share", metric="exact_match,strict-match"
    )
    assert found["gsm8k/exact_match,flexible-extract"].metric == "exact_match,flexible-extract"
    assert (found["boolq"].metric, found["own"].metric) == ("acc", "f1")


# In a run.


def ratings(count: int, task: str = "t") -> list[Rated]:
    return [Rated(prompt=f"{task}:{i}", split="all", values={task: (float(i % 2),)}) for i in range(count)]


@pytest.mark.parametrize("count", [2, 5, 100])
def test_questions_are_shared_out_between_the_splits(count: int) -> None:
    parts = {split: of_split(ratings(count), split, 0.2) for split in ("validation", "held_out", "all")}
    names = {split: [each.prompt for each in part] for split, part in parts.items()}
    assert sorted(names["validation"] + names["held_out"]) == sorted(names["all"])
    assert len(names["validation"]) == max(1, round(0.2 * count))
    assert names["held_out"]


RECIPE = """
[run]
iterations = 1
threads = 1
[model]
path = "{model}"
[seed]
path = "seed.jsonl"
validation = 2
held_out = 2
[method]
kind = "seed_sft"
[loss]
kind = "dpo"
[scorer]
kind = "implicit"
[benchmark]
kind = "harness"
tasks = ["task.jsonl"]
[gate]
measure = "task"
[seed_models.sft]
epochs = 1
[engine]
kind = "local"
[trainer]
kind = "local"
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    write(folder / "seed.jsonl", *({"prompt": f"say {i}", "response": f"word {i}"} for i in range(12)))
    write(folder / "task.jsonl", *({**GOOD, "query": f"Question: what is {i}?", "gold": i % 2} for i in range(10)))
    (folder / "small.toml").write_text(RECIPE.format(model=tiny()))
    return folder


def test_a_run_measures_by_it_and_stores_every_item(
    small: Path, tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval", reason="the extra `eval` is not installed")
    monkeypatch.chdir(tmp_path)  # no repository of git's
    out = tmp_path / "out"
    for told in ("harness-task: measure, 10 rows", "reused"):
        with pytest.raises(SystemExit) as end:
            main(["run", str(small / "small.toml"), "--into", str(out)])
        heard = capfd.readouterr()
        assert (end.value.code, told in heard.err) == (0, True), heard.err
        assert "git" not in heard.err
    assert (out / "stages/iteration-1/harness-task/stage.json").is_file()
    held_out = [json.loads(line) for line in (out / "stages/iteration-1/measure-held_out/records.jsonl").open()]
    validation = [json.loads(line) for line in (out / "stages/iteration-1/measure-validation/records.jsonl").open()]
    assert (len(held_out), len(validation)) == (8, 2)
    assert not {row["prompt"] for row in held_out} & {row["prompt"] for row in validation}
    shown = json.loads((out / "run.json").read_text())["iterations"][1]["measures"]["task"]
    assert shown["value"] == pytest.approx(math.fsum(row["values"]["task"][0] for row in held_out) / 8)
    assert "task: acc_norm" in (out / "report.html").read_text()


def test_check_plans_it_without_loading_a_model(small: Path) -> None:
    pytest.importorskip("lm_eval", reason="the extra `eval` is not installed")
    found = plan(read_recipe(small / "small.toml"))
    assert ("iteration-1/harness-task", 10) in [(stage.name, stage.rows) for stage in found.stages]
