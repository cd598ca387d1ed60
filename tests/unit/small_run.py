"""A small finished run of fakes, for the tests of what people look at."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from selfboost import recipe
from selfboost.loop import boost
from selfboost.records import Answer, Message, Origin, Pair, Prompt
from selfboost.stages import Listener, Silent

RECIPE = """
[run]
iterations = 1
beside = ["seed_sft"]
[model]
path = "fake"
[seed]
path = "seed.jsonl"
validation = 8
held_out = 8
[method]
kind = "spin"
window = "all"
[loss]
kind = "dpo"
[training]
batch_size = 8
[scorer]
kind = "implicit"
[benchmark]
kind = "held_out"
samples = 2
max_tokens = 60
greedy = false
scorer = {kind = "checks", function = "selfboost.engines.fake:is_good"}
[engine]
kind = "fake"
[trainer]
kind = "fake"
"""
EVIL = '<script>alert("1")</script> [red]&\x1b[31m\u202eabc'
"""What no terminal and no browser may get as it is."""


def make_run(folder: Path, listener: Listener | None = None, *settings: str) -> Path:
    """Run the recipe into a folder's `run`."""
    seeds = [f'{{"prompt": "say word {i} </b> twice", "response": "good word {i} & more"}}' for i in range(40)]
    (folder / "seed.jsonl").write_text("\n".join(seeds))
    (folder / "small.toml").write_text(RECIPE)
    boost(recipe.read(folder / "small.toml", settings), folder / "run", listener or Silent())
    return folder / "run"


@cache
def finished_run() -> Path:
    """One run for all tests that only read it."""
    return make_run(Path(mkdtemp(prefix="selfboost-test-")))


def evil_pair() -> Pair:
    """A pair whose every text is hostile, written for another request than its prompt."""
    origin = Origin(source="prompts", iteration=1, keywords=("a<b", EVIL), parent="a-1")
    prompt = Prompt(messages=(Message(role="user", content=f"ask {EVIL}"),), origin=origin)
    other = Prompt(messages=(Message(role="user", content=f"rewrite {EVIL}"),), origin=origin)
    chosen = Answer(prompt=other, text=f"yes {EVIL}", prompt_ids=(1,), token_ids=(5, 6, 7), finish="stop", model="m")
    rejected = Answer(prompt=prompt, text=f"no {EVIL}", prompt_ids=(1,), token_ids=(8, 9), finish="length", model="n")
    return Pair(
        iteration=1,
        prompt=prompt,
        prompt_ids=(1, 2, 3, 4),
        chosen=chosen,
        rejected=rejected,
        chosen_score=1.5,
        rejected_score=0.25,
        scorer="implicit",
    )
