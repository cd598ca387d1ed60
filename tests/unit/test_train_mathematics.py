"""Log-probabilities, losses and gradients of training against a plain derivation: full logits, one row at a time."""

import pytest
import torch
from engine_models import save_llama
from train_records import examples, pairs
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from selfboost.losses import PairScores
from selfboost.losses.dpo import DPO
from selfboost.losses.ipo import IPO
from selfboost.losses.simpo import SimPO
from selfboost.train.batches import micro_batches
from selfboost.train.logits import Head, head_of
from selfboost.train.logprobs import completion_logps
from selfboost.train.objectives import Likelihood, Preference, reference_logps
from selfboost.train.rows import Row, example_items, pair_items

torch.set_num_threads(1)
EXACT = {"rtol": 1e-9, "atol": 1e-10}
SIZES = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
ARCHITECTURES = {
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(
            **SIZES,
            intermediate_size=32,
            num_key_value_heads=1,
            head_dim=8,
            final_logit_softcapping=0.5,
            sliding_window=4,
        )
    ),
    "cohere": lambda: CohereForCausalLM(CohereConfig(**SIZES, intermediate_size=32, logit_scale=0.25)),
    "granite": lambda: GraniteForCausalLM(GraniteConfig(**SIZES, intermediate_size=32, logits_scaling=7.0)),
    "phi": lambda: PhiForCausalLM(PhiConfig(**SIZES, intermediate_size=32)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=64)),
}


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def llama(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    save_llama(folder, tie_word_embeddings=request.param)
    return AutoModelForCausalLM.from_pretrained(folder).double().eval()


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(5)
    return ARCHITECTURES["gpt2"]().double().eval()


def plain_logps(model, prompt_ids, token_ids):
    """Log-probability of each completion token from the model's own logits, nothing batched."""
    logits_TV = model(torch.tensor([[*prompt_ids, *token_ids]])).logits[0]
    logps_TV = logits_TV.to(torch.float64).log_softmax(-1)
    return torch.stack([logps_TV[len(prompt_ids) - 1 + at, token] for at, token in enumerate(token_ids)])


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def ours(model, objective, items, padded_tokens):
    """The loss of a batch and its gradients as the optimisation loop accumulates them."""
    weight = sum(objective.weight(item) for item in items)
    model.zero_grad()
    total = 0.0
    for group in micro_batches(items, padded_tokens):
        part = objective.losses(group)[0].sum() / weight
        part.backward()
        total += part.item()
    return total, {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("padded_tokens", [1, 40, 10_000])
def test_likelihood_is_the_mean_over_all_tokens_of_the_batch(llama, padded_tokens):
    data = examples()
    logps = [plain_logps(llama, e.prompt_ids, e.answer.token_ids) for e in data]
    expected = -torch.cat(logps).mean()
    expected_gradients = gradients(llama, expected)
    items = example_items(data, 1000)
    found, found_gradients = ours(llama, Likelihood(llama, head_of(llama)), items, padded_tokens)
    assert found == pytest.approx(expected.item(), rel=1e-10)
    torch.testing.assert_close(found_gradients, expected_gradients, **EXACT)


@pytest.mark.parametrize("padded_tokens", [1, 60, 10_000])
@pytest.mark.parametrize("loss", [DPO(), DPO(shape="hinge", beta=0.02), IPO(), SimPO(nll_weight=0.5)], ids=str)
def test_preference_loss_and_every_gradient(llama, reference, loss, padded_tokens):
    data = pairs()
    sums, references = [], []
    for p in data:
        sums.append([plain_logps(llama, p.prompt_ids, side.token_ids).sum() for side in (p.chosen, p.rejected)])
        with torch.no_grad():
            both = (plain_logps(reference, p.prompt_ids, side.token_ids).sum() for side in (p.chosen, p.rejected))
            references.append(torch.stack(list(both)))
    expected = loss.losses(
        PairScores(
            chosen_B=torch.stack([win for win, _ in sums]),
            rejected_B=torch.stack([lose for _, lose in sums]),
            chosen_tokens_B=torch.tensor([float(len(p.chosen.token_ids)) for p in data]),
            rejected_tokens_B=torch.tensor([float(len(p.rejected.token_ids)) for p in data]),
            reference_chosen_B=torch.stack(references)[:, 0],
            reference_rejected_B=torch.stack(references)[:, 1],
        )
    ).mean()
    expected_gradients = gradients(llama, expected)
    items = pair_items(data, 1000)
    known = reference_logps(reference, head_of(reference), items, padded_tokens) if loss.needs_reference else None
    found, found_gradients = ours(llama, Preference(llama, head_of(llama), loss, known), items, padded_tokens)
    assert found == pytest.approx(expected.item(), rel=1e-10)
    torch.testing.assert_close(found_gradients, expected_gradients, **EXACT)


def test_a_batch_of_one_pair(llama):
    items = pair_items(pairs()[:1], 1000)
    objective = Preference(llama, head_of(llama), SimPO(), None)
    losses_B, measures = objective.losses(items)
    assert losses_B.shape == (1,)
    assert set(measures) == {"chosen_logp", "rejected_logp", "margin", "accuracy"}


def test_identical_answers_have_no_margin_and_half_an_accuracy(llama):
    _, measures = Preference(llama, head_of(llama), SimPO(), None).losses(pair_items(pairs()[-1:], 1000))
    assert measures["margin"].item() == pytest.approx(0, abs=1e-12)
    assert measures["accuracy"].item() in (0.0, 0.5, 1.0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_with_heads_of_their_own(name):
    torch.manual_seed(1)
    model = ARCHITECTURES[name]().double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    rows = [Row(p.prompt_ids, p.chosen.token_ids) for p in pairs()]
    expected = torch.cat([plain_logps(model, row.prompt_ids, row.token_ids) for row in rows])
    expected_gradients = gradients(model, expected.square().sum())
    found = torch.cat(completion_logps(model, head_of(model), rows))
    # Some of these compute their norms in float32 whatever the weights are.
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradients(model, found.square().sum()), expected_gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("chunk_elements", [1, 64 * 3, 64 * 100])
@pytest.mark.parametrize(("scale", "softcap"), [(1.0, 0.0), (0.5, 0.0), (1.0, 3.0), (2.0, 3.0)])
def test_chunks_of_the_head_change_nothing(chunk_elements, scale, softcap):
    torch.manual_seed(0)
    hidden_ND, weight_VD, bias_V = (
        torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((11, 8), (64, 8), 64)
    )
    targets_N, outer_N = torch.randint(64, (11,)), torch.randn(11, dtype=torch.float64)
    logits_NV = scale * (hidden_ND @ weight_VD.T + bias_V)
    logits_NV = softcap * torch.tanh(logits_NV / softcap) if softcap else logits_NV
    expected_N = logits_NV.log_softmax(1)[torch.arange(11), targets_N]
    inputs = (hidden_ND, weight_VD, bias_V)
    expected = torch.autograd.grad((expected_N * outer_N).sum(), inputs)
    head = Head(weight_VD, bias_V, scale, softcap, chunk_elements)
    found_N = head.logps(hidden_ND, targets_N)
    torch.testing.assert_close(found_N, expected_N, **EXACT)
    torch.testing.assert_close(torch.autograd.grad((found_N * outer_N).sum(), inputs), expected, **EXACT)


def test_bfloat16_logits_are_reduced_in_float32():
    torch.manual_seed(0)
    hidden_ND, weight_VD = torch.randn(5, 8).bfloat16(), torch.randn(64, 8).bfloat16().requires_grad_()
    targets_N = torch.arange(5)
    found_N = Head(weight_VD, None).logps(hidden_ND, targets_N)
    exact_N = (hidden_ND.float() @ weight_VD.float().T).log_softmax(1)[torch.arange(5), targets_N]
    assert found_N.dtype == torch.float32
    torch.testing.assert_close(found_N, exact_N, rtol=0, atol=0.03)
    found_N.sum().backward()
    assert weight_VD.grad.dtype == torch.bfloat16


class Doubled(LlamaForCausalLM):
    """A model whose logits are not what its head says."""

    def forward(self, *args, **kwargs):
        out = super().forward(*args, **kwargs)
        out.logits = out.logits * 2
        return out


def test_a_model_with_unknown_logits_is_refused(llama):
    odd = Doubled(llama.config).double().eval()
    odd.load_state_dict(llama.state_dict())
    with pytest.raises(ValueError, match="Doubled computes its logits in a way that this trainer does not know"):
        head_of(odd)
