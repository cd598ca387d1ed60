"""The same command on models and a seed from elsewhere: what they lack is said, what is counted is true."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from fake_recipes import Heard
from real_data import DATA
from selfboost import recipe, store
from selfboost.disk.json_files import read_json
from selfboost.loop import boost
from selfboost.records import Answer, Example, Pair

SEED, CORPUS = DATA / "seed" / "raschka_instruction_1100.jsonl.gz", DATA / "corpus" / "t0_source_paragraphs.jsonl.gz"
CONTEXT = 512
"""Positions of both models."""
pytestmark = pytest.mark.skipif(not SEED.exists(), reason=f"the real models and seeds are not here: {DATA}")
_KEEP = TemporaryDirectory()

RECIPE = """
[run]
iterations = {iterations}
threads = 1
max_cut = 1.0
[model]
path = "{model}"
[seed]
path = "{seed}"
limit = 32
validation = 6
held_out = 6
[method]
kind = "{method}"
{options}
[loss]
kind = "{loss}"
[training]
learning_rate = 1e-3
batch_size = 8
max_length = 384
[seed_models.sft]
learning_rate = 1e-3
batch_size = 8
epochs = 1
[scorer]
kind = "implicit"
threshold = -1000.0
[benchmark]
kind = "held_out"
samples = 2
max_tokens = 24
scorer = {{kind = "implicit"}}
[gate]
rule = "always"
[engine]
kind = "local"
dtype = "float32"
[trainer]
kind = "local"
dtype = "float32"
"""
# The models know no questions: the whole output is the question, and every rewrite is kept.
SYNPO = """
prompts = 24
pairs = 12
sampling = {{max_tokens = 24}}
filter = {{keep_cut = true, max_repetition = 1.0}}
search = {{betas = [2, 10], pairs = 6}}
self_instruct = {{prompts = 8, shown = 2, sampling = {{max_tokens = 24}}}}
[method.generator]
paragraphs = "{corpus}"
paragraphs_limit = 400
keywords = {{most = 10}}
template = "Write a question with: {{keywords}}"
target = "{{question}} = {{solution}}"
prefix = ""
question = "(.+)"
sampling = {{max_tokens = 24}}
training = {{learning_rate = 1e-3, epochs = 1}}
[method.improver]
threshold = -inf
template = "{{prompt}} Improve: {{answer}}"
sampling = {{max_tokens = 24}}
training = {{learning_rate = 1e-3, epochs = 1}}
"""
SYNPO_OPTIONS = SYNPO.replace("{corpus}", str(CORPUS)).replace("{{", "{").replace("}}", "}")


PLAYING = "sampling = {max_tokens = 24}\ndistributions = {pairs = 16, prompts = 8, max_tokens = 24}"
NOISY = 'noise_preference"\nnoise.scale = "auto'
"""A kind of loss, and more of its section."""


@cache
def boosted(model: str, method: str) -> tuple[Path, Heard, dict[str, Any]]:
    """A real run, once per process: its folder, what was said, its summary."""
    import torch

    torch.set_num_threads(1)
    folder = Path(_KEEP.name) / f"{model}-{method}"
    folder.mkdir()
    text = RECIPE.format(
        iterations=2 if method == "dnpo" or (model, method) == ("stories260K-hf", "spin") else 1,
        model=DATA / "model" / model,
        seed=SEED,
        method=method,
        loss={"spin": "dpo", "dnpo": NOISY}.get(method, "simpo"),
        options=SYNPO_OPTIONS if method == "synpo" else PLAYING,
    )
    (folder / "recipe.toml").write_text(text)
    heard = Heard()
    boost(recipe.read(folder / "recipe.toml"), folder / "run", heard)
    return folder / "run", heard, read_json(folder / "run" / "run.json")


def rows(root: Path, name: str, kind: type[Any]) -> list[Any]:
    card = store.read_card(root / "stages" / name)
    assert card is not None
    return store.read_rows(root, card, kind)


each_run = pytest.mark.parametrize(
    ("model", "method"),
    [
        pytest.param("stories260K-hf", "synpo", marks=pytest.mark.slow),
        ("stories260K-hf", "spin"),
        pytest.param("stories260K-hf", "dnpo", marks=pytest.mark.slow),
        pytest.param("tinystories-bit1M-hf", "spin", marks=pytest.mark.slow),
        pytest.param("tinystories-bit1M-hf", "dnpo", marks=pytest.mark.slow),
        pytest.param("tinystories-bit1M-hf", "synpo", marks=pytest.mark.slow),
    ],
)


@each_run
def test_the_run_comes_to_its_end_and_says_which_template_it_took(model: str, method: str) -> None:
    _, heard, summary = boosted(model, method)
    assert summary["status"] == "finished"
    assert [i["decision"] for i in summary["iterations"]] == ["initial"] + ["promoted"] * (
        len(summary["iterations"]) - 1
    )
    assert any("the tokenizer has no chat template: the default template" in said for said in heard.said)
    assert summary["said"] == heard.said[: len(summary["said"])]  # a training may warn after that
    assert summary["seeds"] == [32, 6, 6]


@each_run
def test_sampler_and_trainer_agree(model: str, method: str) -> None:
    _, _, summary = boosted(model, method)
    for iteration in summary["iterations"]:
        assert iteration["agreement"] is not None
        assert iteration["agreement"] < 1e-4


@each_run
def test_what_was_sampled_is_what_is_trained_on(model: str, method: str) -> None:
    root, _, summary = boosted(model, method)
    last = summary["iterations"][-1]["iteration"]
    sampled = {
        answer.id: answer.token_ids
        for card in store.cards(root)
        if card.verb == "sample"
        for answer in store.read_rows(root, card, Answer)
    }
    pairs: list[Pair] = rows(root, f"iteration-{last}/policy", Pair)
    assert len(pairs) == summary["iterations"][-1]["pairs"] > 0
    for pair in pairs:
        given = [side.model == "given" for side in (pair.chosen, pair.rejected)]
        assert given == [True, False] if method == "spin" else not all(given)
        for side in (side for side in (pair.chosen, pair.rejected) if side.model != "given"):
            assert sampled[side.id] == side.token_ids
            assert len(side.logps) == len(side.token_ids) <= 24
        assert pair.rejected.prompt_ids == pair.prompt_ids


@each_run
def test_gold_is_tokenised_once_and_ends_once(model: str, method: str) -> None:
    from transformers import AutoTokenizer

    root, _, _ = boosted(model, method)
    tokenizer: Any = AutoTokenizer.from_pretrained(DATA / "model" / model)
    gold = [e.answer for e in rows(root, "prepare/seed_sft", Example)] if method == "synpo" else []
    gold += [pair.chosen for pair in rows(root, "iteration-1/policy", Pair) if pair.chosen.model == "given"]
    for answer in gold:
        assert answer.token_ids.count(tokenizer.eos_token_id) == 1
        assert answer.token_ids[-1] == tokenizer.eos_token_id
        assert answer.prompt_ids.count(tokenizer.bos_token_id) <= 1
        assert tokenizer.decode(answer.token_ids[:-1]).strip() == answer.text.strip()


@each_run
def test_the_context_is_respected_and_what_does_not_fit_is_counted(model: str, method: str) -> None:
    root, _, _ = boosted(model, method)
    for card in store.cards(root):
        if card.verb != "sample":
            continue
        answers = store.read_rows(root, card, Answer)
        assert all(len(a.prompt_ids) + len(a.token_ids) <= CONTEXT for a in answers if a.finish != "failed")
        for answer in (a for a in answers if a.finish == "failed"):
            assert len(answer.prompt_ids) >= CONTEXT
            assert answer.reason
            assert answer.token_ids == ()
        assert card.notes.get("failed", 0) == sum(a.finish == "failed" for a in answers)
        assert card.notes.get("cut at the token limit", 0) == sum(a.finish == "length" for a in answers)


@each_run
def test_the_trained_folder_is_a_model_that_moved(model: str, method: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    root, _, summary = boosted(model, method)
    folder = root / summary["iterations"][-1]["policy"]
    first: Any = AutoModelForCausalLM.from_pretrained(DATA / "model" / model)
    trained: Any = AutoModelForCausalLM.from_pretrained(folder)
    assert type(trained) is type(first)
    differences = [(a - b).abs().max().item() for a, b in zip(first.parameters(), trained.parameters(), strict=True)]
    assert max(differences) > 0
    assert all(torch.isfinite(p).all() for p in trained.parameters())
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template, "the default template is the trained model's own"
    history = read_json(root / f"stages/iteration-{summary['iterations'][-1]['iteration']}/policy/stage.json")
    assert history["notes"]["steps"] == len(history["notes"]["history"])
    assert not list(folder.glob("training-state*"))


def test_prompts_too_long_for_the_model_are_counted_not_lost() -> None:
    """Half of a long prompt is no prompt: it fails with a reason, the others are answered."""
    from selfboost.records import Model, Origin, Sampling, user_prompt
    from selfboost.stages import Silent, Stages

    root = Path(_KEEP.name) / "long"
    chosen = recipe.read(Path(boosted("stories260K-hf", "synpo")[0].parent / "recipe.toml"))
    path = str(DATA / "model" / "stories260K-hf")
    model = Model(name="initial", path=path, fingerprint=chosen.engine.fingerprint(path))
    prompts = [user_prompt(text, Origin(source="seed")) for text in ("Tell a story.", "word " * 600)]
    from selfboost.blocks.sampling import AnswerSampler, draw_answers
    from selfboost.cluster.here import ThisProcess

    with Stages(root, Silent()).open("iteration-1/x", "sample", {"a": 1}, 2) as stage:
        worker = AnswerSampler(engine=chosen.engine, model=model, sampling=Sampling(max_tokens=8), salt="0/x")
        draw_answers(stage, "x", ThisProcess(), worker, prompts)
        short, long = stage.rows(Answer)
    assert short.finish in ("stop", "length")
    assert long.finish == "failed"
    assert str(CONTEXT) in long.reason
    assert stage.card is not None
    assert stage.card.notes["failed"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["sampling_ranking", "self_rewarding", "seed_sft", "seed_po", "seed_sft_po", "manual_data"]
)
def test_one_line_makes_it_a_baseline(method: str, tmp_path: Path) -> None:
    """The recipe of the real run, another `method.kind`: the same prompts, and it comes to its end."""
    root, _, first = boosted("stories260K-hf", "synpo")
    recipe_file = root.parent / "recipe.toml"
    changes = [f"method.kind={method}"]
    if method == "self_rewarding":
        changes.append("method.judge=likelihood")
    if method == "manual_data":
        changes += [f"method.data={DATA / 'pref' / 'raschka_preference_1100.jsonl.gz'}", "method.pairs=16"]
    boost(recipe.read(recipe_file, changes), tmp_path / "run", Heard())
    summary = read_json(tmp_path / "run" / "run.json")
    assert summary["status"] == "finished"
    assert len(summary["iterations"]) == len(first["iterations"]) == 2
    if method in ("sampling_ranking", "self_rewarding"):
        written = [[a.text for a in rows(made, "iteration-1/prompts", Answer)] for made in (root, tmp_path / "run")]
        assert written[0] == written[1]
