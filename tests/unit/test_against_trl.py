"""The preference losses of the trainer beside TRL's, on one batch of the same token ids; skipped where TRL is absent.

Made identical: TRL appends the end of sequence, so every completion ends in it already; each token is one word of the
tokenizer, so text and ids map one to one; nothing is cut.
"""

from functools import cache
from random import Random

import pytest
import torch
from engine_models import save_llama
from train_records import model, pair, silent

from selfboost.losses.dpo import DPO
from selfboost.losses.ipo import IPO
from selfboost.losses.simpo import SimPO
from selfboost.losses.sppo import SPPO
from selfboost.train import Sequenced, Training
from selfboost.train.local import Local

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
torch.set_num_threads(1)

END = 2
LENGTHS = [(3, 2, 5), (9, 14, 6), (20, 3, 4), (1, 12, 7), (5, 6, 6), (2, 8, 2)]
BETA, TAU = 0.3, 0.2
TRAINING = Training(learning_rate=1e-3, batch_size=len(LENGTHS), schedule="constant", warmup=0.0)
LOCAL = Local(dtype="float32", device="cpu", checkpoint_seconds=0)


def batch(lengths=LENGTHS):
    """Pairs whose completions end in the end of sequence."""
    generator = Random(3)

    def ids(count):
        return tuple(generator.randrange(5, 64) for _ in range(count))

    return [pair(n, ids(p), (*ids(c), END), (*ids(r), END)) for n, (p, c, r) in enumerate(lengths)]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A policy and a reference that is not quite it."""
    folder = tmp_path_factory.mktemp("checkpoints")
    save_llama(folder / "policy")
    reference = save_llama(folder / "reference")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    reference.save_pretrained(str(folder / "reference"))
    return folder / "policy", folder / "reference"


def ours(checkpoints, into, loss, pairs):
    """The first step as the trainer's history tells it."""
    policy, reference = (model(path, path.name) for path in checkpoints)
    into.mkdir()
    result = LOCAL.prefer(policy, reference, pairs, loss, TRAINING, into=into, seed=0, progress=silent)
    assert result.truncated == 0
    return result.history[0]


def summed_logps(path, pairs):
    """Log-probabilities of all chosen and all rejected completions, by the public path."""
    rows = [
        Sequenced(prompt_ids=p.prompt_ids, token_ids=side.token_ids) for p in pairs for side in (p.chosen, p.rejected)
    ]
    sums = torch.tensor([sum(logps) for logps in LOCAL.logps(model(path, path.name), rows)], dtype=torch.float64)
    return sums[::2], sums[1::2]


@cache
def vocabulary(path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)


def as_text(path, pairs):
    """The pairs as TRL takes them."""
    from datasets import Dataset

    def words(ids):
        return " ".join(vocabulary(path).convert_ids_to_tokens(list(ids)))

    return Dataset.from_list(
        [
            {
                "prompt": words(p.prompt_ids),
                "chosen": " " + words(p.chosen.token_ids),
                "rejected": " " + words(p.rejected.token_ids),
            }
            for p in pairs
        ]
    )


def trl_first_step(checkpoints, into, trainer, config, pairs, settings):
    """What TRL logs of one step over the batch."""
    from transformers import AutoModelForCausalLM

    arguments = config(
        output_dir=str(into),
        per_device_train_batch_size=len(pairs),
        max_steps=1,
        learning_rate=TRAINING.learning_rate,
        max_grad_norm=TRAINING.max_gradient_norm,
        bf16=False,
        use_cpu=True,
        dataloader_pin_memory=False,
        gradient_checkpointing=False,
        max_length=96,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **settings,
    )
    policy, reference = (AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32) for path in checkpoints)
    needs_reference = {"ref_model": reference} if trainer.__name__ == "DPOTrainer" else {}
    trainer = trainer(
        model=policy,
        args=arguments,
        train_dataset=as_text(checkpoints[0], pairs),
        processing_class=vocabulary(checkpoints[0]),
        **needs_reference,
    )
    check_ids(trainer.train_dataset, pairs)
    trainer.train()
    return trainer.state.log_history[0]


def check_ids(dataset, pairs):
    """TRL's ids are ours: nothing appended, merged or cut."""
    for row, p in zip(dataset, pairs, strict=True):
        for side, answer in (("chosen", p.chosen), ("rejected", p.rejected)):
            whole = row["prompt_ids"] + row[f"{side}_ids"] if "prompt_ids" in row else row[f"{side}_input_ids"]
            assert tuple(whole) == p.prompt_ids + answer.token_ids


def dpo_trainer():
    trl = pytest.importorskip("trl", reason="TRL is not installed; see benchmarks/training.py")
    return trl.DPOTrainer, trl.DPOConfig


def cpo_trainer():
    pytest.importorskip("trl", reason="TRL is not installed; see benchmarks/training.py")
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    return CPOTrainer, CPOConfig


def assert_same(mine, theirs, names):
    for ours_name, trl_name in names.items():
        assert mine[ours_name] == pytest.approx(theirs[trl_name], rel=1e-5), ours_name
    assert mine["gradient_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)


COMMON = {"loss": "loss", "margin": "rewards/margins", "accuracy": "rewards/accuracies"}


@pytest.mark.parametrize(
    ("loss", "settings"),
    [
        (DPO(beta=BETA), {"loss_type": "sigmoid", "beta": BETA}),
        (DPO(beta=BETA, shape="hinge"), {"loss_type": "hinge", "beta": BETA}),
        (SPPO(eta=1 / BETA), {"loss_type": "sppo_hard", "beta": BETA}),
    ],
    ids=["sigmoid", "hinge", "sppo"],
)
@pytest.mark.parametrize("stored", [False, True], ids=["reference online", "reference precomputed"])
def test_dpo_is_that_of_trl(checkpoints, tmp_path, loss, settings, stored):
    trainer, config = dpo_trainer()
    pairs = batch()
    settings = settings | {"precompute_ref_log_probs": stored}
    theirs = trl_first_step(checkpoints, tmp_path / "trl", trainer, config, pairs, settings)
    assert_same(ours(checkpoints, tmp_path / "ours", loss, pairs), theirs, COMMON)
    chosen_B, rejected_B = summed_logps(checkpoints[0], pairs)
    assert chosen_B.mean().item() == pytest.approx(theirs["logps/chosen"], rel=1e-5)
    assert rejected_B.mean().item() == pytest.approx(theirs["logps/rejected"], rel=1e-5)


def test_dpo_on_means_is_the_length_normalised_one_of_trl(checkpoints, tmp_path):
    """TRL logs rewards of sums here as well: only the loss and its gradient compare."""
    trainer, config = dpo_trainer()
    pairs = batch()
    settings = {"loss_type": "sigmoid_norm", "beta": 2.0}
    theirs = trl_first_step(checkpoints, tmp_path / "trl", trainer, config, pairs, settings)
    mine = ours(checkpoints, tmp_path / "ours", DPO(beta=2.0, log_probability="mean"), pairs)
    assert_same(mine, theirs, {"loss": "loss"})


def test_ipo_on_means_is_that_of_trl_and_on_sums_the_papers(checkpoints, tmp_path):
    """TRL has IPO on means over tokens alone, and logs rewards of sums: only the loss and its gradient compare."""
    trainer, config = dpo_trainer()
    pairs = batch()
    settings = {"loss_type": "ipo", "beta": TAU}
    theirs = trl_first_step(checkpoints, tmp_path / "trl", trainer, config, pairs, settings)
    mine = ours(checkpoints, tmp_path / "means", IPO(tau=TAU, log_probability="mean"), pairs)
    assert_same(mine, theirs, {"loss": "loss"})
    sums = ours(checkpoints, tmp_path / "sums", IPO(tau=TAU), pairs)
    # TRL's rewards are beta times the sums' log-ratios, so its mean margin is that of the paper's loss times tau.
    assert sums["margin"] == pytest.approx(theirs["rewards/margins"], rel=1e-5)
    assert sums["loss"] != pytest.approx(mine["loss"], rel=0.1)


@pytest.mark.parametrize(
    ("loss", "settings"),
    [
        (SimPO(), {}),
        (SimPO(beta=10.0, gamma=3.0), {"beta": 10.0, "simpo_gamma": 3.0}),
        (SimPO(label_smoothing=0.1), {"label_smoothing": 0.1}),
    ],
    ids=["SynPO's", "beta 10 gamma 3", "label smoothing"],
)
def test_simpo_is_that_of_trl(checkpoints, tmp_path, loss, settings):
    trainer, config = cpo_trainer()
    pairs = batch()
    settings = {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.6, "cpo_alpha": 0.0} | settings
    theirs = trl_first_step(checkpoints, tmp_path / "trl", trainer, config, pairs, settings)
    means = {"chosen_logp": "logps/chosen", "rejected_logp": "logps/rejected"}
    assert_same(ours(checkpoints, tmp_path / "ours", loss, pairs), theirs, COMMON | means)


def test_likelihood_term_of_simpo_is_that_of_trl_for_one_pair(checkpoints, tmp_path):
    """For more pairs TRL averages over all chosen tokens of the batch, ours over pairs."""
    trainer, config = cpo_trainer()
    pairs = batch(LENGTHS[1:2])
    settings = {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.6, "cpo_alpha": 0.5}
    theirs = trl_first_step(checkpoints, tmp_path / "trl", trainer, config, pairs, settings)
    assert_same(ours(checkpoints, tmp_path / "ours", SimPO(nll_weight=0.5), pairs), theirs, COMMON)


def test_dpo_is_the_loss_of_spin(checkpoints, tmp_path):
    """SPIN, arXiv 2401.01335, equation 4.7 with the logistic loss: log(1 + exp(-t)), t from whole answers."""
    pairs = batch()
    policy_w, policy_l = summed_logps(checkpoints[0], pairs)
    previous_w, previous_l = summed_logps(checkpoints[1], pairs)
    t = BETA * (policy_w - previous_w) - BETA * (policy_l - previous_l)
    expected = torch.log1p(torch.exp(-t)).mean().item()
    assert ours(checkpoints, tmp_path / "ours", DPO(beta=BETA), pairs)["loss"] == pytest.approx(expected, rel=1e-5)
