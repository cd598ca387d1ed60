"""Reward models: trained on pairs, loadable by anyone, refused when their head is random."""

import pytest
import torch
from engine_models import save_words
from train_records import model, pairs, silent
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from selfboost.losses.bradley_terry import BradleyTerry
from selfboost.train import Sequenced, Training
from selfboost.train.local import Local
from selfboost.train.steps.telemetry import TIMINGS

torch.set_num_threads(1)
TRAINING = Training(learning_rate=3e-3, batch_size=4, epochs=6)
SEQUENCES = [Sequenced(prompt_ids=p.prompt_ids, token_ids=s.token_ids) for p in pairs() for s in (p.chosen, p.rejected)]


@pytest.fixture(scope="module")
def trained(start, tmp_path_factory):
    into = tmp_path_factory.mktemp("reward")
    return model(into, "reward"), train(start, into)


def train(start, into, seed=0):
    into.mkdir(exist_ok=True)
    return Local().prefer(start, None, pairs(), BradleyTerry(), TRAINING, into=into, seed=seed, progress=silent)


def test_it_learns_to_put_chosen_above_rejected(trained):
    reward_model, result = trained
    found = list(Local().rewards(reward_model, SEQUENCES))
    assert sum(w > l for w, l in zip(found[:-2:2], found[1:-2:2], strict=True)) == len(pairs()) - 1  # noqa: E741
    assert found[-2] == pytest.approx(found[-1], abs=1e-5)  # identical answers
    expected = {"step", "loss", "learning_rate", "gradient_norm", "margin", "accuracy", *TIMINGS}
    assert set(result.history[0]) == expected


def test_it_is_the_scalar_that_transformers_gives_after_the_last_token(trained):
    loaded = AutoModelForSequenceClassification.from_pretrained(trained[0].path).eval()
    assert loaded.config.num_labels == 1
    assert loaded.config.pad_token_id not in (None, 2)  # 2 ends an answer
    for sequence, found in zip(SEQUENCES, Local().rewards(trained[0], SEQUENCES), strict=True):
        ids = torch.tensor([[*sequence.prompt_ids, *sequence.token_ids]])
        with torch.no_grad():
            assert found == pytest.approx(loaded(ids).logits.item(), abs=1e-5)


def test_the_end_of_turn_counts_as_a_token_even_where_it_is_also_the_padding(tmp_path):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_labels=1, pad_token_id=2, eos_token_id=2,
    )  # fmt: skip
    built = LlamaForSequenceClassification(config).eval()
    built.save_pretrained(tmp_path)
    ids = torch.tensor([[7, 8, 9, 2]])
    with torch.no_grad():
        expected = built.score(built.model(ids).last_hidden_state[0, -1]).item()
    sequences = [Sequenced(prompt_ids=(7, 8), token_ids=(9, 2)), Sequenced(prompt_ids=(5, 6, 7, 8), token_ids=(9, 9))]
    assert next(iter(Local().rewards(model(tmp_path), sequences))) == pytest.approx(expected, abs=1e-6)


def test_an_encoder_sees_no_padding(tmp_path):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_labels=1
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    together = list(Local().rewards(model(tmp_path), SEQUENCES))
    alone = [next(iter(Local().rewards(model(tmp_path), [sequence]))) for sequence in SEQUENCES]
    assert together == pytest.approx(alone, abs=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_another_head(start, trained, tmp_path):
    train(start, tmp_path / "again")
    train(start, tmp_path / "other", seed=1)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (tmp_path / "again", tmp_path / "other")]
    with open(f"{trained[0].path}/model.safetensors", "rb") as file:
        assert weights[0] == file.read()
    assert weights[1] != weights[0]


def test_a_language_model_is_no_reward_model(start):
    with pytest.raises(ValueError, match=r"is not a reward model: it lacks score\.weight, which would start as random"):
        list(Local().rewards(start, SEQUENCES))


def test_two_outputs_are_no_reward(tmp_path):
    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_labels=2
    )
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="its head has 2 outputs"):
        list(Local().rewards(model(tmp_path), SEQUENCES))


def test_an_architecture_without_a_classifier_is_refused_in_one_sentence(tmp_path):
    from transformers import BitNetConfig, BitNetForCausalLM

    config = BitNetConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2,
    )  # fmt: skip
    config.pad_token_id = config.bos_token_id = config.eos_token_id = 2
    BitNetForCausalLM(config).save_pretrained(tmp_path)
    save_words(tmp_path)
    with pytest.raises(ValueError, match="is of type bitnet, which is no reward model") as error:
        train(model(tmp_path), tmp_path / "out")
    assert "\n" not in str(error.value)
