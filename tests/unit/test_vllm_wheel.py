"""The parameter classes of vLLM's own wheel take what our engines ask for, and its requirements go with ours.

Slow: an environment of its own is made by pip under SELFBOOST_TOOLS (else the temporary folder): vLLM's wheel and the
few packages that its parameter classes import, without dependencies (about 1 GB); no GPU is needed.
"""

import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from engine_models import save_llama
from train_records import examples, model, silent

from selfboost.engines.checkpoint import ADAPTER
from selfboost.train import Training
from selfboost.train.local import Local

ROOT = Path(__file__).parents[2]
TOOLS = Path(os.environ.get("SELFBOOST_TOOLS", Path(tempfile.gettempdir()) / "selfboost-tools"))
PACKAGES = (
    "vllm==0.33.0",
    "msgspec",
    "cbor2",
    "pyzmq",
    "openai_harmony",
    "pillow",
    "pybase64",
    "cachetools",
    "uvloop",
    "py-cpuinfo",
)
BUILT = """
import json
from dataclasses import replace
from importlib.resources import files
from selfboost import recipe
from selfboost.engines import Request, samplings_of
from selfboost.engines.vllm import drawing
from selfboost.records import Sampling
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.sampling_params import RequestOutputKind, SamplingParams

found = {}
model = str(files("selfboost") / "demo" / "assets" / "model")
for name, file in recipe.shipped().items():
    read = recipe.read(file, ["engine.kind=vllm"])
    AsyncEngineArgs(model=model, **read.engine.arguments())
    AsyncEngineArgs(model=model, **replace(read.engine, max_lora_rank=64).arguments())
    wanted = [sampling for _, sampling in samplings_of(read)] or [Sampling()]
    wanted += [Sampling(temperature=0.0), Sampling(temperature=2.0, top_k=7, top_p=0.5, min_p=0.1, stop=("x",))]
    for sampling in wanted:
        request = Request(prompt_ids=(1, 2), sampling=sampling, seed=2**60 - 1)
        asked = drawing(request, 9, [2, 5])
        made = SamplingParams(**asked, output_kind=RequestOutputKind.FINAL_ONLY)
        greedy = ("top_p", "top_k", "min_p") if not sampling.temperature else ()
        changed = {key: getattr(made, key) for key in asked if getattr(made, key) != asked[key] and key not in greedy}
        assert not changed, changed
        assert made.all_stop_token_ids == {2, 5}
    found[name] = len(wanted)
print(json.dumps(found))
"""


PUT_ON = """
import json, sys
from typing import get_args
from selfboost.engines.vllm import LoraRank
from vllm.config.lora import LoRAConfig, MaxLoRARanks
from vllm.lora.peft_helper import PEFTHelper
from vllm.lora.request import LoRARequest

asked = LoRARequest(lora_name="one", lora_int_id=1, lora_path=sys.argv[1])
assert set(get_args(LoraRank)) - {0} == set(get_args(MaxLoRARanks))
helper = PEFTHelper.from_local_dir(asked.lora_path, 96)
helper.validate_legal(LoRAConfig(max_lora_rank=8, max_loras=1))
try:
    helper.validate_legal(LoRAConfig(max_lora_rank=1))
except ValueError as error:
    refused = str(error)
print(json.dumps({"rank": helper.r, "scale": helper.vllm_lora_scaling_factor, "refused": refused}))
"""


POOLED = """
import json
from selfboost.endpoints.pooling import pooling_body
from vllm.pooling_params import PoolingParams

body = pooling_body((1, 2))
made = PoolingParams(task=body["task"], use_activation=body["use_activation"])
assert body["task"] in made.valid_parameters and "use_activation" in made.valid_parameters[body["task"]]
print(json.dumps(body))
"""
REQUEST = "vllm/entrypoints/pooling/pooling/protocol.py", "vllm/entrypoints/pooling/base/protocol.py"


@pytest.fixture(scope="module")
def wheel() -> Path:
    """A folder with vLLM and what its parameter classes import."""
    folder = TOOLS / "vllm-parameters"
    if not (folder / "done").exists():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *PACKAGES]
        made = subprocess.run(install, capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"vLLM's wheel cannot be installed here: {made.stderr.strip()[-200:]}")
        (folder / "done").touch()
    return folder


def said_by(wheel: Path, program: str, *arguments: str) -> Any:
    """What a program prints last, run with the wheel behind our own libraries."""
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    code = f"import sys; sys.path.append({str(wheel)!r})\n{program}"
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert not found.returncode, found.stderr[-2000:]
    return json.loads(found.stdout.splitlines()[-1])


@pytest.mark.slow
def test_vllms_own_classes_take_the_adapter_that_a_training_writes(wheel: Path, tmp_path: Path) -> None:
    save_llama(tmp_path / "base")
    training = Training(batch_size=4, max_length=64, lora_rank=3, lora_alpha=6.0)
    (into := tmp_path / "one").mkdir()
    Local().finetune(model(tmp_path / "base"), examples(), training, into=into, seed=0, progress=silent)
    found = said_by(wheel, PUT_ON, str(into / ADAPTER))
    assert (found["rank"], found["scale"]) == (3, 2.0)
    assert "rank 3 is greater than max_lora_rank 1" in found["refused"]


@pytest.mark.slow
def test_vllms_own_pooling_takes_what_is_asked_of_it(wheel: Path) -> None:
    """Its request classes need a whole installation: their fields are read from their source."""
    body = said_by(wheel, POOLED)
    classes = {
        each.name: each
        for file in REQUEST
        for each in ast.walk(ast.parse((wheel / file).read_text(encoding="utf-8")))
        if isinstance(each, ast.ClassDef)
    }

    def fields_of(name: str) -> set[str]:
        bases = (base.id for base in classes[name].bases if isinstance(base, ast.Name) and base.id in classes)
        own = {part.target.id for part in classes[name].body if isinstance(part, ast.AnnAssign)}  # type: ignore[union-attr]
        return own.union(*map(fields_of, bases))

    assert {"model", *body} <= fields_of("PoolingCompletionRequest")
    assert "data" in fields_of("PoolingResponseData")


@pytest.mark.slow
def test_vllms_own_classes_take_the_parameters_of_every_recipe(wheel: Path) -> None:
    built = said_by(wheel, BUILT)
    assert len(built) == len(list((ROOT / "src" / "selfboost" / "recipes").glob("*.toml")))


@pytest.mark.slow
def test_the_extra_resolves_to_the_release_that_it_names(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    resolve = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    try:
        found = subprocess.run(
            [*resolve, "--report", str(report), f"{ROOT}[vllm]"], capture_output=True, text=True, timeout=1200
        )
    except subprocess.TimeoutExpired:
        pytest.skip("pip found no set of releases within 20 minutes: the registry is slow")
    if found.returncode and "ResolutionImpossible" not in found.stderr:
        pytest.skip(f"the registry cannot be reached: {found.stderr.strip()[-200:]}")
    assert not found.returncode, found.stderr[-2000:]
    named = {
        each["metadata"]["name"].lower(): each["metadata"]["version"]
        for each in json.loads(report.read_text())["install"]
    }
    assert named["vllm"].startswith("0.33.")
    assert {"torch", "transformers"} <= named.keys()
