"""Tiny checkpoints that the engine tests make for themselves, and where the real ones lie."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

torch.set_num_threads(1)

TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '> ' + message['content'] + ' <end> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
SPECIAL = ["<pad>", "<unk>", "<end>", "<user>", "<assistant>"]
WORDS = ["<question>", "</question>", *(f"w{number}" for number in range(57))]


def save_words(folder: Path, template: str | None = TEMPLATE) -> None:
    """A word-level tokenizer of 64 words whose tags `<question>` are ordinary words."""
    model = WordLevel({word: number for number, word in enumerate([*SPECIAL, *WORDS])}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in SPECIAL])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        chat_template=template,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(str(folder))


def save_llama(folder: Path, context: int = 96, **settings: object) -> LlamaForCausalLM:
    """A random Llama of 64 words, peaked enough that greedy has no near ties, with its tokenizer."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(
        **sizes, intermediate_size=64, vocab_size=64, max_position_embeddings=context, eos_token_id=2, **settings
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0 if parameter.dim() > 1 else 1.0)
    model.generation_config.eos_token_id = 2
    model.save_pretrained(str(folder))
    save_words(folder)
    return model


def save_bytes(folder: Path, template: str, added: tuple[str, ...] = ()) -> None:
    """A tokenizer of single bytes with the tags of ChatML, and added tokens that are not special, as `<think>` is."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in ("<|start|>", "<|end|>", "<|header|>")])
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in added])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", chat_template=template, clean_up_tokenization_spaces=False
    ).save_pretrained(str(folder))
    LlamaConfig().save_pretrained(str(folder))
