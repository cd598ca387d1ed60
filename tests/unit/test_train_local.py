"""The local trainer as a whole: what it writes, repeats, resumes and refuses."""

import math
from dataclasses import replace

import pytest
import torch
from engine_models import save_llama
from safetensors.torch import load_file, save_file
from train_records import examples, model, pairs, silent
from transformers import AutoModelForCausalLM, AutoTokenizer

from real_data import real
from selfboost.losses.dpo import DPO
from selfboost.losses.simpo import SimPO
from selfboost.train import Sequenced, Training
from selfboost.train.local import Local
from selfboost.train.steps.checkpoints import STATE
from selfboost.train.steps.telemetry import TIMINGS

torch.set_num_threads(1)
TRAINING = Training(learning_rate=1e-3, batch_size=4, epochs=2.5, max_length=64)
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    save_llama(folder, tie_word_embeddings=True)
    return model(folder, "other")


def finetune(start, into, local=None, training=TRAINING, seed=0, progress=silent, data=None):
    into.mkdir(exist_ok=True)
    return (local or Local()).finetune(start, data or examples(), training, into=into, seed=seed, progress=progress)


def prefer(start, into, local=None, loss=None, reference=None, training=TRAINING, seed=0, progress=silent, data=None):
    into.mkdir(exist_ok=True)
    trainer, loss = local or Local(), loss or SimPO()
    return trainer.prefer(start, reference, data or pairs(), loss, training, into=into, seed=seed, progress=progress)


def untimed(result):
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in result.history]


def distance(first, second):
    one, two = load_file(first / WEIGHTS), load_file(second / WEIGHTS)
    assert one.keys() == two.keys()
    return max((one[name].float() - two[name].float()).abs().max().item() for name in one)


def test_the_folder_is_a_transformers_model_with_the_same_log_probabilities(start, tmp_path):
    result = finetune(start, tmp_path / "out")
    sequences = [Sequenced(prompt_ids=e.prompt_ids, token_ids=e.answer.token_ids) for e in examples()]
    ours = list(Local(micro_batch_tokens=50).logps(model(tmp_path / "out"), sequences))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert loaded.generation_config.eos_token_id == 2
    for sequence, found in zip(sequences, ours, strict=True):
        ids = [*sequence.prompt_ids, *sequence.token_ids]
        with torch.no_grad():
            logps_TV = loaded(torch.tensor([ids])).logits[0].log_softmax(-1)
        begin = len(sequence.prompt_ids)
        expected = [logps_TV[at - 1, ids[at]].item() for at in range(begin, len(ids))]
        assert found == pytest.approx(expected, abs=2e-5)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(start.path).chat_template
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(start.path).get_vocab()
    assert not (tmp_path / "out" / STATE).exists()
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_what_the_result_says(start, tmp_path):
    calls = []
    result = prefer(start, tmp_path / "out", progress=lambda *call: calls.append(call))
    assert result.steps == math.ceil(round(9 * 2.5) / 4) == len(result.history)
    assert [call[:2] for call in calls] == [(step, result.steps) for step in range(1, result.steps + 1)]
    assert calls[-1][2] == result.tokens
    expected = {"step", "loss", "learning_rate", "gradient_norm", *TIMINGS}
    expected |= {"chosen_logp", "rejected_logp", "chosen_logp_sum", "rejected_logp_sum", "margin", "accuracy"}
    assert all(set(row) == expected for row in result.history)
    assert [row["step"] for row in result.history] == list(range(1, result.steps + 1))
    assert result.history[-1]["margin"] > result.history[0]["margin"]
    assert result.truncated == 0
    few = prefer(start, tmp_path / "few", Local(log_every=4))
    assert [row["step"] for row in few.history] == [4, result.steps]


def test_training_learns_the_examples_by_heart(start, tmp_path):
    result = finetune(start, tmp_path / "out", training=replace(TRAINING, learning_rate=2e-2, epochs=30))
    assert result.history[-1]["loss"] < 0.3 < 3 < result.history[0]["loss"]


def test_dpo_starts_at_log_two_when_the_reference_is_the_start(start, tmp_path):
    result = prefer(start, tmp_path / "out", loss=DPO(), reference=start)
    assert result.history[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert result.history[0]["margin"] == pytest.approx(0, abs=1e-5)


def test_another_reference_changes_the_training(start, other, tmp_path):
    own = prefer(start, tmp_path / "own", loss=DPO(), reference=start)
    foreign = prefer(start, tmp_path / "foreign", loss=DPO(), reference=other)
    assert foreign.history[0]["loss"] != pytest.approx(own.history[0]["loss"], abs=1e-3)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(start, tmp_path):
    results = [prefer(start, tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()
    assert untimed(results[0]) == untimed(results[1])
    assert distance(tmp_path / "a", tmp_path / "c") > 1e-5


@pytest.mark.parametrize("verb", [finetune, prefer])
def test_the_size_of_micro_batches_changes_nothing_but_rounding(start, verb, tmp_path):
    gentle = replace(TRAINING, optimizer="rmsprop", learning_rate=1e-5)
    histories = []
    for size in (1, 50, 10_000):
        histories.append(untimed(verb(start, tmp_path / f"{size}", Local(micro_batch_tokens=size), training=gentle)))
    assert distance(tmp_path / "1", tmp_path / "10000") < 2e-6
    assert distance(tmp_path / "50", tmp_path / "10000") < 2e-6
    for one, two in zip(histories[0], histories[2], strict=True):
        assert one == pytest.approx(two, rel=1e-4, abs=1e-5)


def test_gradient_checkpointing_changes_nothing_but_rounding(start, tmp_path):
    prefer(start, tmp_path / "kept")
    prefer(start, tmp_path / "recomputed", Local(gradient_checkpointing=True))
    assert distance(tmp_path / "kept", tmp_path / "recomputed") < 1e-5


def test_dropout_is_off(tmp_path):
    save_llama(tmp_path, attention_dropout=0.5)
    finetune(model(tmp_path), tmp_path / "a")
    finetune(model(tmp_path), tmp_path / "b", Local(gradient_checkpointing=True))
    assert distance(tmp_path / "a", tmp_path / "b") < 1e-5


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the package may catch it."""


def kill_at(step, steps_run=None):
    """A listener that ends the training after a step."""

    def progress(done, total, tokens):
        if steps_run is not None:
            steps_run.append(done)
        if done == step:
            raise Killed

    return progress


def states_in(folder):
    return sorted(path.name for path in (folder / STATE).glob("*"))


ALWAYS = {"checkpoint_seconds": 1e-9}
WAYS = {
    "adamw": {},
    "rmsprop": {"optimizer": "rmsprop"},
    "adamw_8bit": {"optimizer": "adamw_8bit"},
    "average": {"ema_decay": 0.7},
    "lora": {"lora_rank": 3},
    "lora and average": {"lora_rank": 3, "ema_decay": 0.7, "lora_targets": ("q_proj", "down_proj")},
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("verb", [finetune, prefer])
def test_killed_and_resumed_equals_never_killed_bit_for_bit(start, other, verb, way, dtype, tmp_path):
    for library, wanted in (("peft", "lora" in way), ("bitsandbytes", "8bit" in way)):
        if wanted:
            pytest.importorskip(library, reason="needs an extra")
    arguments = {"training": replace(TRAINING, **WAYS[way])}
    arguments |= {"loss": DPO(), "reference": other} if verb is prefer else {}
    whole = verb(start, tmp_path / "whole", Local(dtype=dtype), **arguments)
    steps_run = []
    always = Local(dtype=dtype, **ALWAYS)
    for step in (1, 4):
        with pytest.raises(Killed):
            verb(start, tmp_path / "killed", always, progress=kill_at(step, steps_run), **arguments)
    (tmp_path / "killed" / STATE / "step-00000005-half.new").write_bytes(b"half a state")  # killed while writing
    resumed = verb(start, tmp_path / "killed", always, progress=kill_at(0, steps_run), **arguments)
    assert steps_run == list(range(1, whole.steps + 1))  # no finished step was taken again
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "killed")
    assert untimed(resumed) == untimed(whole)
    assert resumed.tokens == whole.tokens
    assert not (tmp_path / "killed" / STATE).exists()


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_killed_after_the_last_step_and_resumed_equals_never_killed(start, tmp_path):
    pytest.importorskip("peft", reason="needs the extra `lora`")
    training = replace(TRAINING, ema_decay=0.7, lora_rank=2)
    whole = finetune(start, tmp_path / "whole", training=training)
    with pytest.raises(Killed):
        finetune(start, tmp_path / "out", Local(**ALWAYS), training=training, progress=kill_at(whole.steps))
    assert untimed(finetune(start, tmp_path / "out", training=training)) == untimed(whole)
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "out")


def test_the_state_of_another_training_is_not_used(start, tmp_path):
    with pytest.raises(Killed):
        finetune(start, tmp_path / "out", Local(**ALWAYS), progress=kill_at(1), seed=1)
    assert len(states_in(tmp_path / "out")) == 1
    finetune(start, tmp_path / "out")
    finetune(start, tmp_path / "fresh")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "fresh")


@pytest.mark.parametrize(("keep", "expected"), [(1, [4]), (2, [2, 4]), (9, [2, 4])])
def test_the_last_states_are_kept_and_named_by_their_step(start, keep, expected, tmp_path):
    local = Local(checkpoint_seconds=0, checkpoint_steps=2, keep_states=keep)
    with pytest.raises(Killed):
        finetune(start, tmp_path / "out", local, progress=kill_at(5))
    assert [int(name.split("-")[1]) for name in states_in(tmp_path / "out")] == expected
    with pytest.raises(Killed):  # another training's states make room for this one's
        finetune(start, tmp_path / "out", local, progress=kill_at(3), seed=1)
    assert [int(name.split("-")[1]) for name in states_in(tmp_path / "out")] == [2]


@pytest.mark.parametrize("damage", [b"", b"not a state", "half"])
def test_a_damaged_state_gives_way_to_the_one_before_it(start, damage, tmp_path):
    whole, steps_run = finetune(start, tmp_path / "whole"), []
    local = Local(**ALWAYS, keep_states=2)
    with pytest.raises(Killed):
        finetune(start, tmp_path / "out", local, progress=kill_at(4))
    _, newest = (tmp_path / "out" / STATE / name for name in states_in(tmp_path / "out"))
    content = newest.read_bytes()
    newest.write_bytes(content[: len(content) // 2] if damage == "half" else damage)
    resumed = finetune(start, tmp_path / "out", local, progress=kill_at(0, steps_run))
    assert steps_run == [4, 5, 6]
    assert untimed(resumed) == untimed(whole)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_random_generators_go_on_where_they_were(start, tmp_path):
    def draw(found, step):
        def progress(done, total, tokens):
            found.append(torch.rand(1).item())
            if done == step:
                raise Killed

        return progress

    whole, broken = [], []
    torch.manual_seed(0)
    finetune(start, tmp_path / "whole", progress=draw(whole, 0))
    torch.manual_seed(0)
    with pytest.raises(Killed):
        finetune(start, tmp_path / "out", Local(**ALWAYS), progress=draw(broken, 3))
    torch.manual_seed(1)
    finetune(start, tmp_path / "out", Local(**ALWAYS), progress=draw(broken, 0))
    # What was drawn after the last state was written is drawn again.
    assert broken == [*whole[:3], *whole[2:5]]


def test_short_trainings_write_no_state(start, tmp_path):
    seen = []
    finetune(start, tmp_path / "out", progress=lambda *_: seen.append((tmp_path / "out" / STATE).exists()))
    assert not any(seen)


def test_bfloat16_learns_too(start, tmp_path):
    result = finetune(start, tmp_path / "out", Local(dtype="bfloat16"), training=replace(TRAINING, epochs=10))
    assert result.history[-1]["loss"] < result.history[0]["loss"] - 0.5
    assert all(tensor.dtype == torch.bfloat16 for tensor in load_file(tmp_path / "out" / WEIGHTS).values())


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_rows(start, tmp_path):
    save_llama(tmp_path / "broken")
    tensors = load_file(tmp_path / "broken" / WEIGHTS)
    tensors["model.norm.weight"][:] = 3e38  # finite, but no product with it is
    save_file(tensors, tmp_path / "broken" / WEIGHTS, metadata={"format": "pt"})
    data = pairs()[:2]
    with pytest.raises(
        FloatingPointError, match=r"step 1 of 2: the loss is not finite for pair-\w+, pair-\w+;"
    ) as error:
        prefer(model(tmp_path / "broken", "start"), tmp_path / "out", data=data, training=replace(TRAINING, epochs=3))
    assert all(p.id in str(error.value) for p in data)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_training_that_blows_up_keeps_its_last_state_and_stops_there_again(start, tmp_path):
    wild = replace(TRAINING, learning_rate=1e30, warmup=0.0)
    said = []
    for steps_run in ([], []):
        with pytest.raises(FloatingPointError, match=r"step \d+ of 6: the (loss|gradient) is not finite") as error:
            finetune(start, tmp_path / "out", Local(**ALWAYS), training=wild, progress=kill_at(0, steps_run))
        said.append((str(error.value), states_in(tmp_path / "out")))
    assert said[0] == said[1]
    assert steps_run == []
    ((kept,), told) = said[0][1], said[0][0]
    assert f"the last state before it is kept in {tmp_path / 'out' / STATE / kept}. A smaller learning" in told
    assert [path.name for path in (tmp_path / "out").iterdir()] == [STATE]
    finetune(start, tmp_path / "out", Local(**ALWAYS))  # other settings begin anew
    finetune(start, tmp_path / "fresh")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "fresh")


def test_cuts_are_counted_and_the_model_is_never_asked_beyond_its_context(start, tmp_path):
    long = pairs([(80, 40, 10), (5, 5, 5)])
    assert prefer(start, tmp_path / "a", training=replace(TRAINING, max_length=4096), data=long).truncated == 1
    assert prefer(start, tmp_path / "b", training=replace(TRAINING, max_length=8), data=long).truncated == 7


def test_log_probabilities_come_in_order_and_do_not_depend_on_neighbours(start):
    sequences = [Sequenced(prompt_ids=p.prompt_ids, token_ids=p.rejected.token_ids) for p in pairs()]
    sequences.insert(3, Sequenced(prompt_ids=(5, 6), token_ids=()))
    together = list(Local().logps(start, sequences))
    alone = [next(iter(Local(micro_batch_tokens=1).logps(start, [sequence]))) for sequence in sequences]
    assert [len(found) for found in together] == [len(sequence.token_ids) for sequence in sequences]
    for one, two in zip(together, alone, strict=True):
        assert one == pytest.approx(two, abs=2e-5)
    assert list(Local().logps(start, [])) == []


def test_sentences_for_what_a_user_can_mend(start, tmp_path):
    with pytest.raises(ValueError, match="DPO needs a reference model, and none was given"):
        prefer(start, tmp_path / "out", loss=DPO())
    empty = [*pairs(), *pairs([(3, 0, 2)])[:1]]
    with pytest.raises(ValueError, match=rf"{empty[-1].id}: its chosen completion has no tokens"):
        prefer(start, tmp_path / "out", data=empty)
    with pytest.raises(ValueError, match="sequence 1: its prompt has no tokens"):
        list(Local().logps(start, [Sequenced(prompt_ids=p, token_ids=(5,)) for p in ((1,), ())]))
    with pytest.raises(ValueError, match="nowhere"):
        finetune(model(tmp_path / "nowhere"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["stories260K-hf", "tinystories-bit1M-hf"])
def test_real_models(name, tmp_path):
    real_start = model(real(f"model/{name}"), name)
    result = finetune(real_start, tmp_path / "out", training=replace(TRAINING, learning_rate=1e-3, epochs=6))
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    sequences = [Sequenced(prompt_ids=p.prompt_ids, token_ids=p.chosen.token_ids) for p in pairs()]
    before = sum(map(sum, Local().logps(real_start, sequences)))
    assert sum(map(sum, Local().logps(model(tmp_path / "out"), sequences))) > before
