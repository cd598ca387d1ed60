"""The parameter classes of vLLM's own wheel take what our engines ask for, and its requirements go with ours.

Slow: an environment of its own is made by pip under SELFBOOST_TOOLS (else the temporary folder): vLLM's wheel and the
few packages that its parameter classes import, without dependencies (about 1 GB); no GPU is needed.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

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
    AsyncEngineArgs(**read.engine.arguments(model))
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


@pytest.mark.slow
def test_vllms_own_classes_take_the_parameters_of_every_recipe(wheel: Path) -> None:
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    code = f"import sys; sys.path.append({str(wheel)!r})\n{BUILT}"  # behind our own libraries
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert not found.returncode, found.stderr[-2000:]
    built = json.loads(found.stdout.splitlines()[-1])
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
