"""Files for clusters: they parse, nothing a user gives escapes its quotes, a killed job resumes to the same records."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from fake_recipes import write_recipe
from selfboost import cli, recipe
from selfboost.launch import Launch, write_launch

NASTY = "a 'b' \"c\" $(touch pwned) `touch pwned` ; touch pwned @NAME@ #x"
SRUN = '#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\nexec "$@"\n'
SCONTROL = '#!/bin/sh\nif [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >> "$REQUESTS"; fi\n'


def launch(kind: str, folder: Path, **more: object) -> Launch:
    file = write_recipe(folder, "seed_sft")
    given = {"recipe": str(file), "file": file, "into": folder / "out", "gpus": 1} | more
    return Launch(kind=kind, **given)


def words_of(script: str, name: str) -> list[str]:
    """What bash makes of an array of a script."""
    (line,) = (line for line in script.splitlines() if line.startswith(f"{name}=("))
    command = f'{line}\nprintf "%s\\0" "${{{name}[@]}}"'
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout.split("\0")[:-1]


def parse(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)
    if found := shutil.which("shellcheck"):
        subprocess.run([found, "--severity=warning", str(path)], check=True)


@pytest.mark.parametrize("kind", ["slurm", "ray"])
def test_paths_and_settings_reach_the_command_as_they_are(kind: str, tmp_path: Path) -> None:
    given = launch(kind, tmp_path / NASTY, settings=(f'method.template="{NASTY}"',), trust=("mine",), nodes=2)
    path = write_launch(given, tmp_path / "job file")
    parse(path)
    words = words_of(path.read_text(), "arguments")
    expected = ["run", str(given.file), "--into", str(tmp_path / NASTY / "out")]
    assert words[:8] == [*expected, "--set", f'method.template="{NASTY}"', "--trust", "mine"]
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("nodes", [1, 3])
def test_the_objects_for_kubernetes_are_whole(nodes: int, tmp_path: Path) -> None:
    given = launch("k8s", tmp_path, into=Path("runs") / NASTY, nodes=nodes, gpus=4, name="a-job", image="r/i:1")
    config, service, job = yaml.safe_load_all(write_launch(given, tmp_path / "job.yaml").read_text())
    assert config["data"]["recipe.toml"] == given.file.read_text()
    assert {each["metadata"]["name"] for each in (config, service, job)} == {"a-job"}
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (spec["completions"], spec["parallelism"], pod["restartPolicy"]) == (nodes, nodes, "Never")
    ignored, failed = spec["podFailurePolicy"]["rules"]
    assert (ignored["action"], ignored["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert (failed["action"], failed["onExitCodes"]["values"]) == ("FailJob", [2])
    (container,) = pod["containers"]
    assert (container["image"], container["resources"]["limits"]["nvidia.com/gpu"]) == ("r/i:1", 4)
    ran = ["run", "/etc/selfboost/recipe.toml", "--into", f"/work/runs/{NASTY}"]
    assert container["command"][-4:] == ran
    assert ("torch.distributed.run --nnodes 3 --nproc-per-node 4" in container["command"][2]) == (nodes > 1)
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_a_shipped_recipe_stays_a_name(tmp_path: Path) -> None:
    given = Launch(kind="slurm", recipe="smoke", file=recipe.find("smoke"), into=Path("out"), gpus=8, nodes=2, ray=True)
    path = write_launch(given, tmp_path / "smoke.sbatch")
    parse(path)
    text = path.read_text()
    assert words_of(text, "arguments") == ["run", "smoke", "--into", str(Path("out").absolute())]
    assert "ray.scripts.scripts start --head" in text
    for line in ("--requeue", "--signal=B:TERM@300", "--nodes=2", "--gpus-per-node=8", "--time=24:00:00"):
        assert f"#SBATCH {line}\n" in text


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"name": "a b"}, "--name 'a b': must be 1 to 48 of a-z"),
        ({"name": "x\n#SBATCH --uid=root"}, "--name"),
        ({"claim": "-x"}, "--claim '-x'"),
        ({"image": "i\nx: y"}, "--image"),
        ({"into": Path("a\nb")}, "--into 'a.*control character"),
        ({"into": Path("../x")}, "must be a folder on the volume"),
        ({"into": Path("/elsewhere")}, "must be a folder on the volume"),
        ({"ray": True}, "only Slurm's file starts Ray"),
        ({"settings": ("a=\0",)}, "null character"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(more: dict[str, object], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        write_launch(launch("k8s", tmp_path, **more), tmp_path / "job.yaml")
    assert not (tmp_path / "job.yaml").exists()


def test_the_command_writes_once_and_says_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_recipe(tmp_path / "My Recipe", "seed_sft")
    asked = ["launch", "slurm", str(file), "--into", "out", "--nodes", "2", "--gpus", "4"]
    for more, code in (([], 0), ([], 2), (["--overwrite"], 0), (["--nodes", "0"], 2)):
        with pytest.raises(SystemExit) as end:
            cli.main([*asked, *more])
        assert end.value.code == code
    said = capsys.readouterr()
    assert f"selfboost check '{file}' --gpus 8" in said.out
    assert "sbatch recipe.sbatch" in said.out
    assert "recipe.sbatch: already exists; add --overwrite to replace it" in said.err
    assert "'0': must be a whole number from 1 to 100,000" in said.err


def cluster(folder: Path) -> dict[str, str]:
    """An environment in which Slurm's commands run on this machine."""
    tools = folder / "tools"
    tools.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHON": sys.executable, "REQUESTS": str(folder / "requests")}


def records(folder: Path) -> dict[str, str]:
    """Hashes of all record files of a run."""
    found = sorted((folder / "stages").rglob("records.jsonl*"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def interrupted(script: Path, environment: dict[str, str], started: Path) -> subprocess.Popen[bytes]:
    """A script that gets SIGTERM, as Slurm sends it to the batch shell alone, when a stage is at work."""
    job = subprocess.Popen(["bash", str(script)], env=environment, start_new_session=True)
    end = time.monotonic() + 300
    while not started.exists() and job.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert job.poll() is None, "the job ended before it could be killed"
    job.send_signal(signal.SIGTERM)
    job.wait(timeout=120)
    return job


def kill_and_resume(given: Launch, whole: Launch, folder: Path, started: str) -> None:
    environment = cluster(folder)
    script, other = write_launch(given, folder / "job.sbatch"), write_launch(whole, folder / "whole.sbatch")
    interrupted(script, environment, given.into / started)
    assert (folder / "requests").read_text().split() == ["requeue", "0"]
    assert not (given.into / "report.html").exists()
    subprocess.run(["bash", str(script)], env=environment, check=True, capture_output=True, timeout=600)
    subprocess.run(["bash", str(other)], env=environment, check=True, capture_output=True, timeout=600)
    assert (given.into / "report.html").exists()
    assert records(given.into) == records(whole.into)
    assert len(records(given.into)) > 4


@pytest.mark.slow
def test_a_slurm_job_killed_by_a_signal_is_requeued_and_ends_with_the_same_records(tmp_path: Path) -> None:
    given = launch(
        "slurm", tmp_path / "recipe", into=tmp_path / "its out", settings=("engine.seconds_per_answer=0.05",)
    )
    whole = launch("slurm", tmp_path / "recipe", into=tmp_path / "whole")
    kill_and_resume(given, whole, tmp_path, "stages/iteration-0")


@pytest.mark.slow
def test_a_slurm_job_of_the_smoke_recipe_killed_in_a_stage_ends_with_the_same_records(tmp_path: Path) -> None:
    smoke = {"kind": "slurm", "recipe": "smoke", "file": recipe.find("smoke"), "gpus": 1}
    given, whole = Launch(**smoke, into=tmp_path / "out"), Launch(**smoke, into=tmp_path / "whole")
    kill_and_resume(given, whole, tmp_path, "stages/iteration-1")


@pytest.mark.slow
def test_two_nodes_run_one_training_under_torchrun(tmp_path: Path) -> None:
    """Two agents on this machine: both get the script's own command."""
    smoke = {"kind": "slurm", "recipe": "smoke", "file": recipe.find("smoke"), "gpus": 1}
    script = write_launch(Launch(**smoke, into=tmp_path / "out", nodes=2), tmp_path / "job.sbatch")
    environment = cluster(tmp_path) | {"SLURM_JOB_NUM_NODES": "2", "CUDA_VISIBLE_DEVICES": ""}
    twice = SRUN.replace('exec "$@"', '"$@" & one=$!; "$@" & two=$!; wait $one && wait $two')
    (tmp_path / "tools" / "srun").write_text(twice)
    subprocess.run(["bash", str(script)], env=environment, check=True, timeout=900)
    card = json.loads((tmp_path / "out" / "run.json").read_text())
    assert len(card["iterations"]) >= 1


@pytest.mark.parametrize(
    ("code", "restarts", "requests"),
    [(0, 0, ""), (2, 0, ""), (1, 0, "requeue 0\n"), (130, 3, "requeue 0\n"), (1, 20, "")],
)
def test_a_failure_is_requeued_and_a_mistake_or_too_many_are_not(
    code: int, restarts: int, requests: str, tmp_path: Path
) -> None:
    (tmp_path / "ends").write_text(f"#!/bin/sh\nexit {code}\n")
    (tmp_path / "ends").chmod(0o755)
    own = {"PYTHON": str(tmp_path / "ends"), "SLURM_RESTART_COUNT": str(restarts)}
    environment = cluster(tmp_path) | own
    script = write_launch(launch("slurm", tmp_path / "recipe"), tmp_path / "job.sbatch")
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True)
    asked = tmp_path / "requests"
    assert (asked.read_text() if asked.exists() else "") == requests
    assert done.returncode == (0 if requests else code)


def test_a_signal_reaches_the_run_which_may_take_its_time(tmp_path: Path) -> None:
    ends = 'trap \'sleep 0.5; touch "$DONE"; exit 130\' TERM; touch "$DONE.begun"; while :; do sleep 0.05; done'
    (tmp_path / "waits").write_text(f"#!/bin/bash\n{ends}\n")
    (tmp_path / "waits").chmod(0o755)
    environment = cluster(tmp_path) | {"PYTHON": str(tmp_path / "waits"), "DONE": str(tmp_path / "done")}
    script = write_launch(launch("slurm", tmp_path / "recipe"), tmp_path / "job.sbatch")
    job = interrupted(script, environment, tmp_path / "done.begun")
    assert job.returncode == 0
    assert (tmp_path / "done").exists(), "the script waited for the run to stop"
    assert (tmp_path / "requests").read_text() == "requeue 0\n"
