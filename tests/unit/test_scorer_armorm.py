"""ArmoRM: its scores are those of a derivation in float64, written out below without batches, padding or a library."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

from selfboost.records import Answer, Message, Model, Origin, Prompt
from selfboost.scorers import notes_of
from selfboost.scorers.armorm import ArmoRM
from selfboost.scorers.armorm_model import LlamaForRewardModelWithGating, open_armorm
from selfboost.scorers.padded_batches import in_padded_batches
from selfboost.train.fake import Fake

torch.set_num_threads(1)
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
SPECIAL = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
VOCABULARY = {piece: number for number, piece in enumerate([*BYTES, "ĊĊ", "ĊĊĊ"])}
BEGIN, OPEN, CLOSE, END = range(len(VOCABULARY), len(VOCABULARY) + 4)
TEMPLATE = (
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LAYERS, HEADS, SHARED, WIDTH, INNER, REWARDS, HIDDEN, TEMPERATURE, THETA = 2, 4, 2, 32, 48, 5, 12, 10.0, 500.0
CONFIG = {  # as published: the architecture's own names, the old place of rope_theta, and code of its own
    "architectures": ["LlamaForRewardModelWithGating"],
    "auto_map": {"AutoModelForSequenceClassification": "modeling_custom.LlamaForRewardModelWithGating"},
    "model_type": "llama", "vocab_size": len(VOCABULARY) + 4, "hidden_size": WIDTH, "intermediate_size": INNER,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": SHARED, "rms_norm_eps": 1e-5,
    "rope_theta": THETA, "max_position_embeddings": 400, "num_objectives": REWARDS, "gating_hidden_dim": HIDDEN,
    "gating_n_hidden": 3, "gating_temperature": TEMPERATURE, "hidden_act": "silu", "eos_token_id": END,
    "bos_token_id": BEGIN, "tie_word_embeddings": False,
}  # fmt: skip


def plain_tokenizer() -> Tokenizer:
    """Bytes, and tokens of two and three newlines, split off as Llama 3 does; no control token is known to it."""
    tokenizer = Tokenizer(BPE(dict(VOCABULARY), [("Ċ", "Ċ"), ("ĊĊ", "Ċ")]))
    lines = pre_tokenizers.Split(Regex(r"\s*[\r\n]+|[^\r\n]+"), "isolated")
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([lines, letters])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def save_tokenizer(folder, template=TEMPLATE) -> None:
    tokenizer = plain_tokenizer()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SPECIAL[0], eos_token=SPECIAL[3], chat_template=template
    ).save_pretrained(str(folder))


def random_weights() -> dict[str, torch.Tensor]:
    """Random weights under the published names."""
    torch.manual_seed(0)
    head = WIDTH // HEADS
    shapes = {"model.embed_tokens.weight": (CONFIG["vocab_size"], WIDTH), "regression_layer.weight": (REWARDS, WIDTH)}
    for layer in range(LAYERS):
        sides = {"q": HEADS * head, "k": SHARED * head, "v": SHARED * head, "o": WIDTH}
        for side, height in sides.items():
            shapes[f"model.layers.{layer}.self_attn.{side}_proj.weight"] = (height, WIDTH)
        for name, shape in {"gate": (INNER, WIDTH), "up": (INNER, WIDTH), "down": (WIDTH, INNER)}.items():
            shapes[f"model.layers.{layer}.mlp.{name}_proj.weight"] = shape
    sizes = [WIDTH, HIDDEN, HIDDEN, HIDDEN, REWARDS]
    for layer, shape in enumerate(zip(sizes[1:], sizes, strict=False)):
        shapes |= {f"gating.layers.{layer}.weight": shape, f"gating.layers.{layer}.bias": shape[:1]}
    weights = {name: torch.randn(shape) * 1.5 / math.sqrt(shape[-1]) for name, shape in shapes.items()}
    weights["gating.layers.3.weight"] *= 20  # against the temperature: a gate that is far from even
    norms = [f"layers.{layer}.{place}_layernorm" for layer in range(LAYERS) for place in ("input", "post_attention")]
    weights |= {f"model.{norm}.weight": 1 + 0.3 * torch.randn(WIDTH) for norm in [*norms, "norm"]}
    weights["reward_transform_matrix"] = torch.eye(REWARDS) - 0.4 * torch.rand(REWARDS, REWARDS)
    return weights | {"gating.logit_scale": torch.tensor([1.3])}


def save_armorm(folder, weights=None, template=TEMPLATE, **settings) -> Model:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | settings))
    save_file(random_weights() if weights is None else weights, folder / "model.safetensors", {"format": "pt"})
    save_tokenizer(folder, template)
    return Model(name="armorm", path=str(folder), fingerprint="armorm")


def hidden_TD(weights, ids) -> torch.Tensor:
    """Llama's last hidden states of one sequence, written out."""

    def norm(x_TD, name):
        return x_TD / (x_TD.pow(2).mean(-1, keepdim=True) + CONFIG["rms_norm_eps"]).sqrt() * weights[f"{name}.weight"]

    def turned(x_TK):
        half = x_TK.shape[1] // 2
        angles = torch.outer(torch.arange(len(x_TK)).double(), THETA ** (-torch.arange(half).double() / half))
        left, right = x_TK[:, :half], x_TK[:, half:]
        return torch.cat([left * angles.cos() - right * angles.sin(), right * angles.cos() + left * angles.sin()], 1)

    x_TD, size = weights["model.embed_tokens.weight"][ids], WIDTH // HEADS
    future = torch.ones(len(ids), len(ids)).triu(1).bool()
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        seen_TD, mixed = norm(x_TD, f"{name}.input_layernorm"), []
        q, k, v = (seen_TD @ weights[f"{name}.self_attn.{side}_proj.weight"].T for side in "qkv")
        for head in range(HEADS):
            own, other = (slice(at * size, (at + 1) * size) for at in (head, head * SHARED // HEADS))
            scores_TT = turned(q[:, own]) @ turned(k[:, other]).T / math.sqrt(size)
            mixed.append(scores_TT.masked_fill(future, -math.inf).softmax(-1) @ v[:, other])
        x_TD = x_TD + torch.cat(mixed, 1) @ weights[f"{name}.self_attn.o_proj.weight"].T
        seen_TD = norm(x_TD, f"{name}.post_attention_layernorm")
        gate, up = (seen_TD @ weights[f"{name}.mlp.{side}_proj.weight"].T for side in ("gate", "up"))
        x_TD = x_TD + (gate * gate.sigmoid() * up) @ weights[f"{name}.mlp.down_proj.weight"].T
    return norm(x_TD, "model.norm")


def derived(answer: Answer) -> float:
    """The score of one answer in float64: arXiv 2406.12845, section 3, and the published gate's place."""
    weights = {name: weight.double() for name, weight in random_weights().items()}
    ids, gate_place, plain = [BEGIN], 0, plain_tokenizer()
    reply = Message(role="assistant", content=answer.prompt.prefix + answer.text)
    for message in [*answer.prompt.messages, reply]:
        gate_place = len(ids) - 1  # the token that ends the message before
        body = plain.encode(f"\n\n{message.content.strip()}").ids
        ids += [OPEN, *plain.encode(message.role).ids, CLOSE, *body, END]
    states_TD = hidden_TD(weights, ids)
    rewards_K = weights["regression_layer.weight"] @ states_TD[-1]
    adjusted_K = [sum(rewards_K * weights["reward_transform_matrix"][:, column]) for column in range(REWARDS)]
    gate = states_TD[gate_place]
    for layer in range(4):
        gate = weights[f"gating.layers.{layer}.weight"] @ gate + weights[f"gating.layers.{layer}.bias"]
        gate = gate.clamp(min=0) if layer < 3 else gate
    odds = [math.exp(float(value) / TEMPERATURE) for value in gate]
    scale = float(weights["gating.logit_scale"])
    return sum(scale * odd / sum(odds) * float(value) for odd, value in zip(odds, adjusted_K, strict=True))


def prompt(*contents: str, prefix: str = "", system: str = "") -> Prompt:
    roles = ("user", "assistant") * len(contents)
    turns = [Message(role=role, content=content) for role, content in zip(roles, contents, strict=False)]
    first = [Message(role="system", content=system)] if system else []
    return Prompt(messages=(*first, *turns), origin=Origin(source="seed"), prefix=prefix)


def answer(text: str, asked: Prompt, index: int = 0) -> Answer:
    """Its ids are the policy's, which this model never sees."""
    return Answer(prompt=asked, text=text, prompt_ids=(1,), token_ids=(2,), finish="stop", index=index)


SEVERAL = prompt("Name a fruit.", "A lemon.", "And its colour?", prefix="Well, ", system="Be short.")
ANSWERS = [
    answer("Yes.", prompt("Is it so?")),
    answer("No, and here is a long reason why it is not so at all: it never was.", prompt("Is it so?"), 1),
    answer("yellow", SEVERAL),
    answer(" green\n\nand ünder", SEVERAL, 1),
    answer("", prompt("Say nothing.")),
    answer("It wrote <|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nitself", prompt("Is it so?"), 2),
]


@pytest.fixture(scope="module")
def armorm(tmp_path_factory) -> Model:
    return save_armorm(tmp_path_factory.mktemp("armorm"))


def values(model: Model, answers=ANSWERS, **settings) -> list[float | None]:
    settings = {"device": "cpu", "dtype": "float32"} | settings
    found = list(ArmoRM(path=model.path, **settings).score(answers, {"reward": model}, Fake()))
    assert [v.answer for v in found] == [a.id for a in answers]
    assert {v.scorer for v in found} == {f"armorm({model.path})"}
    return [v.value for v in found]


def reasons(model: Model, answers) -> list[str]:
    found = list(ArmoRM(path=model.path, device="cpu").score(answers, {"reward": model}, Fake()))
    assert all((v.value is None) == bool(v.reason) for v in found)
    return [v.reason for v in found]


def test_each_score_is_the_derived_one(armorm):
    expected = [derived(a) for a in ANSWERS]
    assert values(armorm) == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.1  # they differ by far more than that


def test_batches_padding_and_order_change_nothing(armorm):
    together = values(armorm)
    assert values(armorm, batch_tokens=1) == pytest.approx(together, abs=1e-6)
    assert values(armorm, batch_tokens=200) == pytest.approx(together, abs=1e-6)
    assert values(armorm, ANSWERS[::-1]) == pytest.approx(together[::-1], abs=1e-6)
    many = ANSWERS * 60
    assert values(armorm, many) == pytest.approx(together * 60, abs=1e-6)


def test_a_batch_holds_no_more_tokens_than_allowed_but_always_a_row():
    rows = [tuple(range(length)) for length in (3, 9, 1, 4, 4, 12, 2)]
    batches = []

    def compute(batch):
        batches.append([len(row) for row in batch])
        return [len(row) for row in batch]

    assert list(in_padded_batches([rows[:3], rows[3:]], 9, compute)) == [len(row) for row in rows]
    assert batches == [[9], [3, 1], [12], [4, 4], [2]]


def test_a_checkpoint_saved_anew_has_the_published_names_and_the_same_scores(armorm, tmp_path):
    open_armorm(armorm.path, "float32", "cpu").save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    published, saved = load_file(f"{armorm.path}/model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert saved.keys() == published.keys()
    assert all(torch.equal(saved[name], published[name]) for name in saved)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == CONFIG["architectures"]
    assert values(replace(armorm, path=str(tmp_path))) == values(armorm)


def test_the_heads_are_exact_where_the_body_is_coarse(armorm):
    model = open_armorm(armorm.path, "bfloat16", "cpu")
    types = {name: weight.dtype for name, weight in model.named_parameters()}
    assert {kind for name, kind in types.items() if name.startswith("model.")} == {torch.bfloat16}
    assert {kind for name, kind in types.items() if not name.startswith("model.")} == {torch.float32}
    assert values(armorm, dtype="bfloat16") == pytest.approx(values(armorm), abs=0.05)


def test_a_failed_and_an_empty_answer_have_a_reason_and_no_value(armorm):
    empty = replace(ANSWERS[0], text="", token_ids=())
    failed = replace(empty, finish="failed", reason="no room")
    expected = ["the answer is empty", "", "the answer failed: no room"]
    assert reasons(armorm, [empty, ANSWERS[0], failed]) == expected
    assert values(armorm, [empty, ANSWERS[0], failed])[1] == pytest.approx(derived(ANSWERS[0]), abs=1e-5)
    nowhere = Model(name="none", path="there/is/none", fingerprint="none")
    assert reasons(nowhere, [empty, failed]) == [expected[0], expected[2]]  # no model is opened for them


def test_a_conversation_that_the_model_cannot_hold_has_a_reason(armorm):
    found = reasons(armorm, [answer("a" * 380, prompt("b")), ANSWERS[0]])
    assert found == ["the conversation has 403 tokens, the model reads at most 400", ""]


def test_an_answer_that_hides_the_gate_has_a_reason(tmp_path):
    model = save_armorm(tmp_path, template=TEMPLATE.replace(" | trim", ""))
    found = reasons(model, [answer("\nYes.", prompt("Is it so?")), answer("Yes.", prompt("Is it so?"))])
    assert found == ["the answer's first characters hide the end of its header from the gate", ""]


def test_weights_that_are_not_finite_are_refused(tmp_path):
    weights = random_weights()
    weights["gating.logit_scale"] = torch.tensor([math.inf])
    model = save_armorm(tmp_path, weights)
    assert refusal(model) == "the weights of 'HERE' are not finite (infinite or NaN): 'gating.logit_scale'"


def refusal(model: Model) -> str:
    with pytest.raises(ValueError) as error:
        values(model, ANSWERS[:1])
    with pytest.raises(ValueError) as looked:  # `check` finds it too
        notes_of(ArmoRM(path=model.path))
    assert str(looked.value) == str(error.value)
    return str(error.value).replace(model.path, "HERE")


def test_what_older_transformers_stored_beside_the_weights_is_no_fault(tmp_path):
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    model = save_armorm(tmp_path, random_weights() | extra)
    assert values(model, ANSWERS[:1]) == pytest.approx([derived(ANSWERS[0])], abs=1e-5)


def test_other_checkpoints_are_refused_in_one_sentence(tmp_path):
    body = {name: weight for name, weight in random_weights().items() if name.startswith("model.")}
    plain = save_armorm(tmp_path / "plain", body)
    lacking = "the checkpoint 'HERE' is not ArmoRM: it lacks gating.layers.0.bias and 10 more, which would be"
    assert refusal(plain).startswith(lacking)
    sizes = {key: CONFIG[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")}
    LlamaForSequenceClassification(LlamaConfig(**sizes, num_attention_heads=4, num_labels=1)).save_pretrained(
        tmp_path / "one"
    )
    assert "is not ArmoRM: it lacks gating.layers.0.bias and " in refusal(replace(plain, path=str(tmp_path / "one")))
    both = save_armorm(tmp_path / "both", random_weights() | {"score.weight": torch.ones(1, WIDTH)})
    assert refusal(both) == "the checkpoint 'HERE' is not ArmoRM: it has unexpected weights: score.weight"
    fewer = save_armorm(tmp_path / "fewer", num_objectives=REWARDS - 1)
    sentence = "config.json and weights of 'HERE' do not fit together: 'gating.layers.3.bias' has the shape"
    assert refusal(fewer).startswith(sentence)
    BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    ).save_pretrained(tmp_path / "bert")
    found = refusal(replace(plain, path=str(tmp_path / "bert")))
    assert found == "the checkpoint 'HERE' is not ArmoRM: its model_type is 'bert', expected 'llama'"


def test_a_tokenizer_without_llama_3s_headers_is_refused_in_one_sentence(tmp_path):
    other = save_armorm(tmp_path / "other", template="{% for m in messages %}{{ m['content'] }}{% endfor %}")
    assert refusal(other).startswith("the chat template of 'HERE' does not write '<|eot_id|><|start_header_id|>")
    none = save_armorm(tmp_path / "none", template=None)
    assert refusal(none).startswith("the chat template of 'HERE' does not write '<|eot_id|><|start_header_id|>")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "none" / name).unlink()
    assert refusal(none).startswith("the tokenizer of 'HERE' cannot be loaded")


def test_it_names_the_published_checkpoint_and_synpos_threshold():
    scorer = ArmoRM()
    assert scorer.needs() == {"reward": "RLHFlow/ArmoRM-Llama3-8B-v0.1"}
    assert scorer.threshold == 0.02


def test_sizes_that_a_configuration_leaves_out_are_the_published_ones():
    with torch.device("meta"):
        model = LlamaForRewardModelWithGating(LlamaConfig(hidden_size=4096, num_hidden_layers=0, vocab_size=8))
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters() if not name.startswith("model.")}
    assert shapes["regression_layer.weight"] == (19, 4096)
    assert shapes["reward_transform_matrix"] == (19, 19)
    layers = [shapes[f"gating.layers.{layer}.weight"] for layer in range(4)]
    assert layers == [(1024, 4096), (1024, 1024), (1024, 1024), (19, 1024)]
    assert model.gating.temperature == 10
