"""Model folders that something is wrong or odd with: one small Llama, and ways to spoil its files."""

import json
import math
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from engine_models import TEMPLATE, save_llama

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3, 7, 10**9, 10**40, -(10**40), 0.5, -0.5, 1e308, math.nan, math.inf, "", "x"),
    *("a" * 100_000, "\0", "../..", [], {}, [[]], [1], ["x"], [None] * 1000, {"x": 1}, {"": {"": {}}}),
)
"""Values for any key of a JSON file."""
JSON_FILES = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json")
Spoil = Callable[[Path], object]


@dataclass(frozen=True)
class Oddity:
    """One way to spoil a model's folder."""

    name: str
    spoil: Spoil

    def make(self, whole: Path, into: Path) -> Path:
        """A spoilt copy."""
        shutil.copytree(whole, into)
        self.spoil(into)
        return into


def save_whole(folder: Path) -> Path:
    """The model that all others are made from, with nothing wrong."""
    save_llama(folder)
    return folder


def change(file: str, **settings: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / file
        table = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(table | settings))

    return spoil


def write(file: str, content: str | bytes) -> Spoil:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / file).write_bytes(data)


def change_weights(of: Callable[[dict[str, torch.Tensor]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        of(weights)
        save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS, {"format": "pt"})

    return spoil


def change_header(of: Callable[[dict[str, Any]], object]) -> Spoil:
    """Change the header of the weights and nothing behind it."""

    def spoil(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        of(header)
        text = json.dumps(header).encode()
        (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + data[end:])

    return spoil


def cut(share: float) -> Spoil:
    def spoil(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(data[: int(len(data) * share)])

    return spoil


def index(of: Callable[[dict[str, str]], object], *, moved: bool = True) -> Spoil:
    """Move the weights into two files with an index, and change it."""

    def spoil(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        names = sorted(weights)
        parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
        for file, held in parts.items():
            save_file({name: weights[name] for name in held}, folder / file, {"format": "pt"})
        where = {name: file for file, held in parts.items() for name in held}
        of(where)
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
        if moved:
            (folder / WEIGHTS).unlink()

    return spoil


def first(mapping: dict[str, Any], value: Any) -> None:
    mapping[next(name for name in sorted(mapping) if name != "__metadata__")] = value


def other_model(make: Callable[[], Any]) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        make().save_pretrained(str(folder))

    return spoil


def with_value(value: float) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda weights: weights["model.layers.1.mlp.up_proj.weight"][0].fill_(value)


def half(weights: dict[str, torch.Tensor]) -> None:
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:32]
    weights["lm_head.weight"] = weights["lm_head.weight"][:32]


def no_more(weights: dict[str, torch.Tensor]) -> None:
    weights.pop("model.norm.weight")


def renamed(weights: dict[str, torch.Tensor]) -> None:
    for name in list(weights):
        weights[f"net.{name}"] = weights.pop(name)


TEMPLATES = {
    "none": None,
    "ignores content": "{{ 'Hello' }}",
    "ignores all but the last": "{{ messages[-1]['content'] }}",
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "loops over a long text": "{% for a in range(99999) %}{{ messages | tojson }}{% endfor %}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "width bomb": "{{ '%1000000000d' % 1 }}",
    "format bomb": "{{ '{:>1000000000}'.format(1) }}",
    "product": "{{ 'a' * 10**10 }}",
    "power": "{{ 9 ** 9 ** 9 }}",
    "joined power": "{{ (messages | length + 9) ** 99999999 }}",
    "indent bomb": "{{ messages[0]['content'] | indent(10**10, true) }}",
    "center bomb": "{{ messages[0]['content'] | center(10**10) }}",
    "raises": "{{ raise_exception('no') }}",
    "raises for assistants": "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ raise_exception('no') }}"
    "{% endif %}{{ m['content'] }}{% endfor %}",
    "no syntax": "{% for %}",
    "unknown filter": "{{ messages | nothing }}",
    "undefined": "{{ a.b.c }}",
    "divides by zero": "{{ 1 / 0 }}",
    "escapes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "empty": "",
    "clock": TEMPLATE + "{{ strftime_now('%Y') }}",
    "bad clock": "{{ strftime_now(1) }}",
    "chance": "{{ range(9) | random }}" + TEMPLATE,
    "reversed": "{% for m in messages | reverse %}{{ m['content'] }}{% endfor %}",
    "upper": TEMPLATE.replace("message['content']", "message['content'] | upper"),
    "twice": TEMPLATE + TEMPLATE,
    "tools only": "{% for t in tools %}{{ t }}{% endfor %}",
    "null": "\0",
    "long": "{# " + "a" * 5_000_000 + " #}" + TEMPLATE,
    "deep": "{% if true %}" * 2000 + "{% endif %}" * 2000 + TEMPLATE,
    "deep brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "imports": "{% include '/etc/passwd' %}",
}
ROPE: dict[str, Any] = {
    "unknown type": {"rope_type": "x"},
    "no type": {"factor": 2.0},
    "linear": {"rope_type": "linear", "factor": 2.0},
    "linear by nothing": {"rope_type": "linear", "factor": 0.0},
    "negative": {"rope_type": "linear", "factor": -1.0},
    "text": {"rope_type": "linear", "factor": "x"},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "dynamic without factor": {"rope_type": "dynamic"},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 24},
    "yarn of nothing": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 0},
    "longrope": {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "factor": 2.0},
    "longrope too short": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0], "factor": 2.0},
    "llama3": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "llama3 equal": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 1.0,
        "original_max_position_embeddings": 32,
    },
    "list": [1],
    "number": 2,
    "theta of 0": {"rope_type": "default", "rope_theta": 0.0},
    "theta NaN": {"rope_type": "default", "rope_theta": math.nan},
}  # fmt: skip


def template(text: str | None) -> Spoil:
    def spoil(folder: Path) -> None:
        if text is None:
            (folder / "chat_template.jinja").unlink()
        else:
            (folder / "chat_template.jinja").write_text(text)

    return spoil


NAMED: dict[str, Spoil] = {
    "whole": lambda folder: None,
    "config empty": write("config.json", ""),
    "config of nothing": write("config.json", "{}"),
    "config list": write("config.json", "[]"),
    "config null": write("config.json", "null"),
    "config deep": write("config.json", "[" * 100_000),
    "config long number": write("config.json", '{"model_type": ' + "9" * 9999 + "}"),
    "config not UTF-8": write("config.json", b"\xff\xfe{}"),
    "config gone": lambda folder: (folder / "config.json").unlink(),
    "config folder": lambda folder: ((folder / "config.json").unlink(), (folder / "config.json").mkdir()),
    "unknown type": change("config.json", model_type="lama"),
    "code of its own": change("config.json", auto_map={"AutoModelForCausalLM": "m.M"}, model_type="lama"),
    "other class": change("config.json", architectures=["BertModel"]),
    "quantised": change("config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
    "more layers": change("config.json", num_hidden_layers=3),
    "a million layers": change("config.json", num_hidden_layers=10**6),
    "fewer layers": change("config.json", num_hidden_layers=1),
    "wider": change("config.json", hidden_size=64),
    "more heads": change("config.json", num_attention_heads=8),
    "odd heads": change("config.json", num_attention_heads=3),
    "no heads": change("config.json", num_attention_heads=0),
    "head of 7": change("config.json", head_dim=7),
    "unknown activation": change("config.json", hidden_act="x"),
    "number type": change("config.json", torch_dtype="x", dtype="x"),
    "half": change("config.json", dtype="float16"),
    "context of 1": change("config.json", max_position_embeddings=1),
    "context of 0": change("config.json", max_position_embeddings=0),
    "small context": change("config.json", max_position_embeddings=4),
    "vocabulary of 32": change("config.json", vocab_size=32),
    "half the embeddings": lambda folder: (
        change("config.json", vocab_size=32)(folder),
        change_weights(half)(folder),
    ),
    "tied though it is not": change("config.json", tie_word_embeddings=True),
    "padding id beyond": change("config.json", pad_token_id=1000),
    "negative padding id": change("config.json", pad_token_id=-1),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "pickled weights": lambda folder: (folder / WEIGHTS).rename(folder / "pytorch_model.bin"),
    "empty weights": write(WEIGHTS, b""),
    "ten bytes": write(WEIGHTS, b"0123456789"),
    "huge header": write(WEIGHTS, (2**63).to_bytes(8, "little") + b"{}"),
    "header of 99 MB": write(WEIGHTS, (99_000_000).to_bytes(8, "little") + b"{}"),
    "header list": write(WEIGHTS, (2).to_bytes(8, "little") + b"[]"),
    "header of nothing": write(WEIGHTS, (2).to_bytes(8, "little") + b"{}"),
    "header deep": write(WEIGHTS, (90_000).to_bytes(8, "little") + b"[" * 90_000),
    "cut at 99 %": cut(0.99),
    "cut in half": cut(0.5),
    "cut in the header": cut(0.01),
    "NaN": change_weights(with_value(math.nan)),
    "infinite": change_weights(with_value(math.inf)),
    "huge": change_weights(with_value(1e38)),
    "no norm": change_weights(no_more),
    "renamed": change_weights(renamed),
    "shape null": change_header(lambda header: header["lm_head.weight"].update(shape=None)),
    "negative shape": change_header(lambda header: header["lm_head.weight"].update(shape=[-64, -32])),
    "other shape": change_header(lambda header: header["lm_head.weight"].update(shape=[32, 64])),
    "offsets swapped": change_header(lambda header: header["lm_head.weight"].update(data_offsets=[100, 0])),
    "offsets beyond": change_header(lambda header: header["lm_head.weight"].update(data_offsets=[0, 10**15])),
    "offsets over others": change_header(lambda header: header["lm_head.weight"].update(data_offsets=[0, 8192])),
    "number type of header": change_header(lambda header: header["lm_head.weight"].update(dtype="F31")),
    "integers": change_header(lambda header: header["lm_head.weight"].update(dtype="I32")),
    "tensor is a list": change_header(lambda header: first(header, [])),
    "index of nothing": lambda folder: ((folder / WEIGHTS).unlink(), (folder / INDEX).write_text("{}")),
    "index whole": index(lambda where: None),
    "index lacks a weight": index(lambda where: where.pop("model.norm.weight")),
    "index names a missing file": index(lambda where: first(where, "c.safetensors")),
    "index goes elsewhere": index(lambda where: first(where, "../a.safetensors")),
    "index of numbers": index(lambda where: first(where, 1)),
    "index of another file": index(lambda where: where.update({"model.norm.weight": "a.safetensors"})),
    "index beside whole weights": index(lambda where: first(where, "c.safetensors"), moved=False),
    "encoder": other_model(lambda: BertForMaskedLM(BertConfig(**SIZES))),
    "encoder and decoder": other_model(
        lambda: T5ForConditionalGeneration(T5Config(vocab_size=64, d_model=16, d_ff=16, num_layers=1, num_heads=2))
    ),
    "another decoder": other_model(
        lambda: GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=64))
    ),
    "adapter alone": lambda folder: (
        (folder / "config.json").unlink(),
        (folder / WEIGHTS).rename(folder / "adapter_model.safetensors"),
        (folder / "adapter_config.json").write_text("{}"),
    ),
    "adapter beside": write("adapter_config.json", '{"peft_type": "LORA", "base_model_name_or_path": "x/y"}'),
    "no tokenizer": lambda folder: [file.unlink() for file in folder.glob("tokenizer*")],
    "tokenizer empty": write("tokenizer.json", ""),
    "tokenizer list": write("tokenizer.json", "[]"),
    "tokenizer of nothing": write("tokenizer.json", "{}"),
    "tokenizer settings list": write("tokenizer_config.json", "[]"),
    "tokenizer settings gone": lambda folder: (folder / "tokenizer_config.json").unlink(),
    "tokenizer class": change("tokenizer_config.json", tokenizer_class="NoSuchTokenizer"),
    "tokenizer of code": change("tokenizer_config.json", auto_map={"AutoTokenizer": ["m.M", None]}),
    "no EOS": change("tokenizer_config.json", eos_token=None),
    "template in settings a number": lambda folder: (
        template(None)(folder),
        change("tokenizer_config.json", chat_template=7)(folder),
    ),
    "templates by name": lambda folder: (
        template(None)(folder),
        change("tokenizer_config.json", chat_template=[{"name": "x", "template": "{{ 1 }}"}])(folder),
    ),
    "end ids text": change("generation_config.json", eos_token_id="x"),
    "end ids true": change("generation_config.json", eos_token_id=True),
    "end ids beyond": change("generation_config.json", eos_token_id=[2, 10**9]),
    "end ids none": change("generation_config.json", eos_token_id=[]),
    "generation list": write("generation_config.json", "[]"),
    "generation empty": write("generation_config.json", ""),
    "generation odd": change("generation_config.json", temperature=-1, max_length="x", do_sample="x", num_beams=-3),
    "link to itself": lambda folder: ((folder / WEIGHTS).unlink(), (folder / WEIGHTS).symlink_to(folder / WEIGHTS)),
    "weights a folder": lambda folder: ((folder / WEIGHTS).unlink(), (folder / WEIGHTS).mkdir()),
    **{f"template: {name}": template(text) for name, text in TEMPLATES.items()},
    **{
        f"rope: {name}": change("config.json", rope_scaling=value, rope_parameters=value)
        for name, value in ROPE.items()
    },
}


def named() -> list[Oddity]:
    """The oddities that somebody thought of."""
    return [Oddity(name, spoil) for name, spoil in NAMED.items()]


def mutated(whole: Path, seed: int) -> Iterator[Oddity]:
    """Each key of each JSON file with a value that does not belong there, in random order, without end."""
    chance = random.Random(seed)
    keys = [(file, key) for file in JSON_FILES for key in json.loads((whole / file).read_text())]
    while True:
        (file, key), value = chance.choice(keys), chance.choice(ODD)
        yield Oddity(f"{file}: {key} = {str(value)[:40]!r}", change(file, **{key: value}))
