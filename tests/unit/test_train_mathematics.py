"""Log-probabilities, losses and gradients of training against a plain derivation: full logits, one row at a time,
nothing packed and no prompt shared."""

import copy
from dataclasses import replace

import pytest
import torch
from engine_models import save_llama
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from small_architectures import ARCHITECTURES, WIDE, in_float64, plain_logps
from train_records import examples, pairs
from transformers import AutoModelForCausalLM, LlamaForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM

from selfboost.losses import PairScores
from selfboost.losses.dpo import DPO
from selfboost.losses.ipo import IPO
from selfboost.losses.simpo import SimPO
from selfboost.losses.sppo import SPPO
from selfboost.train.local import Local
from selfboost.train.model.attention import register
from selfboost.train.model.logits import Head, compare_head, head_of
from selfboost.train.model.logprobs import language_model
from selfboost.train.model.recomputation import recompute_activations
from selfboost.train.packs.batches import micro_batches
from selfboost.train.packs.rows import example_items, pair_items
from selfboost.train.steps.objectives import LikelihoodObjective, PreferenceObjective, reference_logps

torch.set_num_threads(1)
EXACT = {"rtol": 1e-9, "atol": 1e-10}
LAYOUTS = [{"attention": "blocks"}, {"attention": "rows"}, {"packing": False}]


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(3)
    return in_float64(ARCHITECTURES["llama"]().double().eval())


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def llama(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    save_llama(folder, tie_word_embeddings=request.param)
    return in_float64(AutoModelForCausalLM.from_pretrained(folder).double().eval())


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(5)
    return ARCHITECTURES["gpt2"]().double().eval()


def opened(model, **settings):
    """What training makes of a copy of a model; the model itself stays as it is, for the plain derivation."""
    return language_model(copy.deepcopy(model), Local(**settings))


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def ours(objective, items, tokens):
    """The loss of a batch and its gradients as the optimisation loop accumulates them."""
    model = objective.language_model.model
    weight = sum(objective.weight(item) for item in items)
    model.zero_grad()
    loss = 0.0
    for group in micro_batches(items, tokens):
        total, each_B, _ = objective.losses(group)
        (total / weight).backward()
        loss += float(each_B.sum()) / weight
    return loss, {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def plain_preference(model, reference, loss, data):
    """The mean loss of pairs, row by row."""
    sums, references = [], []
    for p in data:
        sums.append([plain_logps(model, p.prompt_ids, side.token_ids).sum() for side in (p.chosen, p.rejected)])
        with torch.no_grad():
            both = (plain_logps(reference, p.prompt_ids, side.token_ids).sum() for side in (p.chosen, p.rejected))
            references.append(torch.stack(list(both)))
    scores = PairScores(
        chosen_B=torch.stack([win for win, _ in sums]),
        rejected_B=torch.stack([lose for _, lose in sums]),
        chosen_tokens_B=torch.tensor([float(len(p.chosen.token_ids)) for p in data]),
        rejected_tokens_B=torch.tensor([float(len(p.rejected.token_ids)) for p in data]),
        reference_chosen_B=torch.stack(references)[:, 0],
        reference_rejected_B=torch.stack(references)[:, 1],
    )
    return loss.losses(scores).mean()


@pytest.mark.parametrize("tokens", [1, 40, 10_000])
def test_likelihood_is_the_mean_over_all_tokens_of_the_batch(llama, tokens):
    data = examples()
    logps = [plain_logps(llama, e.prompt_ids, e.answer.token_ids) for e in data]
    expected = -torch.cat(logps).mean()
    expected_gradients = gradients(llama, expected)
    found, found_gradients = ours(LikelihoodObjective(opened(llama)), example_items(data, 1000), tokens)
    assert found == pytest.approx(expected.item(), rel=1e-10)
    torch.testing.assert_close(found_gradients, expected_gradients, **EXACT)


@pytest.mark.parametrize("settings", LAYOUTS, ids=str)
@pytest.mark.parametrize("tokens", [1, 60, 10_000])
@pytest.mark.parametrize(
    "loss", [DPO(), DPO(shape="hinge", beta=0.02), IPO(), SPPO(eta=5.0), SimPO(nll_weight=0.5)], ids=str
)
def test_preference_loss_and_every_gradient(llama, reference, loss, tokens, settings):
    data = pairs()
    expected = plain_preference(llama, reference, loss, data)
    expected_gradients = gradients(llama, expected)
    items = pair_items(data, 1000)
    known = known_references(opened(reference, **settings), items, tokens) if loss.needs_reference else None
    found, found_gradients = ours(PreferenceObjective(opened(llama, **settings), loss, known), items, tokens)
    assert found == pytest.approx(expected.item(), rel=1e-9)
    torch.testing.assert_close(found_gradients, expected_gradients, **EXACT)


def known_references(model, items, tokens):
    found = {}
    for group in micro_batches(items, tokens):
        found |= dict(zip((item.id for item in group), reference_logps(model, group), strict=True))
    return found


@given(
    lengths=st.lists(st.tuples(*[st.integers(1, 24)] * 3), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    tokens=st.integers(1, 200),
    block=st.sampled_from([64, 64 * 7, 2**24]),
)
@settings(max_examples=25)
def test_random_batches_in_any_packs_and_blocks(small, lengths, seed, tokens, block):
    data = pairs(lengths, seed)
    loss = SimPO()
    expected = plain_preference(small, small, loss, data)
    expected_gradients = gradients(small, expected)
    language = opened(small)
    language.head = replace(language.head, block_elements=block)
    found, found_gradients = ours(PreferenceObjective(language, loss, None), pair_items(data, 1000), tokens)
    assert found == pytest.approx(expected.item(), rel=1e-9)
    torch.testing.assert_close(found_gradients, expected_gradients, **EXACT)


@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_less_exact_number_types_stay_within_their_rounding(llama, kind, tolerance):
    """Against float64 with the same (rounded) weights; a gradient's error is measured against its largest entry."""
    rounded = copy.deepcopy(llama).to(kind)
    data, loss = pairs(), SimPO()
    expected = plain_preference(copy.deepcopy(rounded).double(), llama, loss, data)
    exact = copy.deepcopy(rounded).double()
    expected_gradients = gradients(exact, plain_preference(exact, llama, loss, data))
    found, found_gradients = ours(PreferenceObjective(opened(rounded), loss, None), pair_items(data, 1000), 60)
    assert found == pytest.approx(expected.item(), rel=tolerance)
    largest = max(float(gradient.abs().max()) for gradient in expected_gradients.values())
    for name, gradient in found_gradients.items():
        assert float((gradient.double() - expected_gradients[name]).abs().max()) <= tolerance * largest, name


def test_a_batch_of_one_pair(llama):
    total, each_B, measures = PreferenceObjective(opened(llama), SimPO(), None).losses(pair_items(pairs()[:1], 1000))
    assert each_B.tolist() == pytest.approx([total.item()])
    sums = {"chosen_logp_sum", "rejected_logp_sum"}
    assert set(measures) == {"chosen_logp", "rejected_logp", "margin", "accuracy"} | sums


def test_identical_answers_have_no_margin_and_half_an_accuracy(llama):
    measures = PreferenceObjective(opened(llama), SimPO(), None).losses(pair_items(pairs()[-1:], 1000))[2]
    assert measures["margin"].item() == pytest.approx(0, abs=1e-12)
    assert measures["accuracy"].item() in (0.0, 0.5, 1.0)


@pytest.mark.parametrize("settings", LAYOUTS, ids=str)
def test_attention_never_crosses_a_boundary(small, settings):
    """Changing one item of a pack changes no other, to the bit; changing a completion leaves its sibling alone."""
    items = pair_items(pairs(), 1000)
    model = opened(small, **settings)
    before = model.logps(items)
    for changed in range(len(items)):
        row = items[changed].rows[1]
        other = replace(row, token_ids=tuple((token + 1) % 64 for token in row.token_ids))
        varied = [*items]
        varied[changed] = replace(items[changed], rows=(items[changed].rows[0], other))
        after = model.logps(varied)
        same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert [at for at, equal in enumerate(same) if not equal] == [2 * changed + 1]


class Smeared(LlamaForCausalLM):
    """A model in which a token's state leaks to the next by another way than attention, as in a convolution."""

    def __init__(self, config):
        super().__init__(config)
        embed = self.model.embed_tokens.forward
        self.model.embed_tokens.forward = lambda ids: embed(ids) + torch.roll(embed(ids), 1, 1)


class Deaf(LlamaForCausalLM):
    """A model that keeps its own attention whatever it is told."""

    def set_attn_implementation(self, *args, **kwargs):
        pass


@pytest.mark.parametrize("kind", [Smeared, Deaf])
def test_a_model_that_cannot_keep_to_boundaries_is_refused_by_name(llama, kind):
    odd = kind(copy.deepcopy(llama.config)).double().eval()
    with pytest.raises(
        ValueError, match=rf"{kind.__name__} cannot be trained on packs: .*; set trainer.packing = false"
    ):
        language_model(odd, Local())


def test_a_window_that_lies_in_a_model_s_mask_alone_is_refused_not_lost():
    sizes = {**WIDE, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
    window = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    config = Qwen2MoeConfig(**sizes, shared_expert_intermediate_size=16, **window)
    with pytest.raises(ValueError, match=r"Qwen2MoeForCausalLM cannot be trained on packs: .* use a sliding window"):
        language_model(Qwen2MoeForCausalLM(config).eval(), Local())
    free = Qwen2MoeConfig(**sizes, shared_expert_intermediate_size=16)
    assert language_model(Qwen2MoeForCausalLM(free).eval(), Local()).body.packed


def test_flex_attention_is_refused_where_it_cannot_be_trained_through(llama):
    with pytest.raises(ValueError, match=r"attention = 'flex' needs a GPU: .*; choose 'blocks'"):
        opened(llama, attention="flex")


def test_flex_attention_gives_the_numbers_of_the_others(small):
    language = opened(small)
    items = pair_items(pairs(), 1000)
    language.model.set_attn_implementation(register("flex"))
    with torch.no_grad():
        found = language.logps(items)
        expected = opened(small).logps(items)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "opt", "gemma2"])
def test_recomputed_activations_change_nothing(name):
    """OPT's layers drop out by their own mode, which recomputation turns on."""
    torch.manual_seed(1)
    model = ARCHITECTURES[name]().double().eval()
    objective = PreferenceObjective(opened(model), SimPO(), None)
    items = pair_items(pairs(), 1000)
    expected = ours(objective, items, 60)
    recompute_activations(objective.language_model.model)
    found = ours(objective, items, 60)
    assert found[0] == pytest.approx(expected[0], rel=1e-12)
    torch.testing.assert_close(found[1], expected[1], **EXACT)


def test_an_unknown_attention_is_refused_with_the_known_ones():
    with pytest.raises(ValidationError, match="'auto', 'blocks', 'rows' or 'flex'"):
        TypeAdapter(Local).validate_python({"attention": "flash"})


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures(name):
    """Windows, soft-capping, shared key heads, biases, norms of queries and keys, heads of their own."""
    torch.manual_seed(1)
    model = ARCHITECTURES[name]().double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    items = pair_items(pairs(), 1000)
    rows = [row for item in items for row in item.rows]
    expected = torch.cat([plain_logps(model, row.prompt_ids, row.token_ids) for row in rows])
    expected_gradients = gradients(model, expected.square().sum())
    attentions = ["auto"] if name == "gemma2" else ["auto", "rows"]
    for attention in attentions:
        language = opened(model, attention=attention)
        found = torch.cat(language.logps(items))
        # Most of these compute their norms in float32 whatever the weights are.
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        found_gradients = gradients(language.model, found.square().sum())
        largest = max(float(gradient.abs().max()) for gradient in expected_gradients.values())
        for parameter, gradient in found_gradients.items():
            assert float((gradient - expected_gradients[parameter]).abs().max()) < 1e-5 * largest, parameter


def test_rows_of_padded_attention_cannot_soft_cap():
    model = ARCHITECTURES["gemma2"]().double().eval()
    with pytest.raises(ValueError, match="attention = 'rows' cannot soft-cap scores"):
        language_model(model, Local(attention="rows"))


@pytest.mark.parametrize("block_elements", [1, 64 * 3, 64 * 100])
@pytest.mark.parametrize(("scale", "softcap"), [(1.0, 0.0), (0.5, 0.0), (1.0, 3.0), (2.0, 3.0)])
def test_blocks_of_the_head_change_nothing(block_elements, scale, softcap):
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 64, dtype=torch.float64)
    hidden_ND = torch.randn(11, 8, dtype=torch.float64, requires_grad=True)
    targets_N, outer_N = torch.randint(64, (11,)), torch.randn(11, dtype=torch.float64)
    logits_NV = scale * layer(hidden_ND)
    logits_NV = softcap * torch.tanh(logits_NV / softcap) if softcap else logits_NV
    expected_N = logits_NV.log_softmax(1)[torch.arange(11), targets_N]
    inputs = (hidden_ND, layer.weight, layer.bias)
    expected = torch.autograd.grad((expected_N * outer_N).sum(), inputs)
    head = Head(layer, scale, softcap, block_elements)
    found_N = head.logps(hidden_ND, targets_N)
    torch.testing.assert_close(found_N, expected_N, **EXACT)
    torch.testing.assert_close(torch.autograd.grad((found_N * outer_N).sum(), inputs), expected, **EXACT)
    total, logps_N = head.value_and_gradient(
        hidden_ND, targets_N, [slice(0, 4), slice(4, 11)], lambda here, logps: (logps * outer_N[here]).sum()
    )
    torch.testing.assert_close(logps_N, expected_N, **EXACT)
    found = torch.autograd.grad(3 * total, inputs)
    torch.testing.assert_close(found, tuple(3 * gradient for gradient in expected), **EXACT)


def test_bfloat16_logits_are_reduced_in_float32():
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 64, bias=False, dtype=torch.bfloat16)
    hidden_ND, targets_N = torch.randn(5, 8).bfloat16(), torch.arange(5)
    found_N = Head(layer).logps(hidden_ND, targets_N)
    exact_N = (hidden_ND.float() @ layer.weight.float().T).log_softmax(1)[torch.arange(5), targets_N]
    assert found_N.dtype == torch.float32
    torch.testing.assert_close(found_N, exact_N, rtol=0, atol=0.03)
    found_N.sum().backward()
    assert layer.weight.grad.dtype == torch.bfloat16


class Doubled(LlamaForCausalLM):
    """A model whose logits are not what its head says."""

    def forward(self, *args, **kwargs):
        out = super().forward(*args, **kwargs)
        out.logits = out.logits * 2
        return out


def test_a_model_with_unknown_logits_is_refused(llama):
    odd = Doubled(copy.deepcopy(llama.config)).double().eval()
    odd.load_state_dict(llama.state_dict())
    with pytest.raises(ValueError, match="Doubled computes its logits in a way that this trainer does not know"):
        compare_head(odd, head_of(odd))
