"""Tiny random models of the architectures that training knows, and what they say by plain means."""

from functools import partial

import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

SIZES = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDE = {**SIZES, "intermediate_size": 32, "num_key_value_heads": 1}
HEADS = {**WIDE, "head_dim": 8}
ARCHITECTURES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**WIDE, attention_bias=True, mlp_bias=True)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**HEADS, sliding_window=5)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**WIDE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**HEADS)),
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(
            **HEADS,
            final_logit_softcapping=0.5,
            attn_logit_softcapping=2.0,
            sliding_window=4,
            attn_implementation="eager",  # transformers 5.20 would take one that leaves the soft cap out
        )
    ),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**HEADS, sliding_window=4, layer_types=["sliding_attention", "full_attention"])
    ),
    "phi": lambda: PhiForCausalLM(PhiConfig(**SIZES, intermediate_size=32)),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**WIDE, pad_token_id=0, partial_rotary_factor=0.5)),
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, intermediate_size=32, rotary_pct=0.5)),
    "opt": lambda: OPTForCausalLM(
        OPTConfig(**SIZES, ffn_dim=32, word_embed_proj_dim=16, max_position_embeddings=64, pad_token_id=0)
    ),
    "smollm3": lambda: SmolLM3ForCausalLM(SmolLM3Config(**WIDE, pad_token_id=0)),
    "cohere": lambda: CohereForCausalLM(CohereConfig(**SIZES, intermediate_size=32, logit_scale=0.25)),
    "granite": lambda: GraniteForCausalLM(GraniteConfig(**SIZES, intermediate_size=32, logits_scaling=7.0)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=64)),
}


def in_float64(model):
    """Norms in the number type of the weights, where transformers always has float32."""

    def forward(self, x):
        weight = self.weight + (1 if type(self).__name__.startswith("Gemma") else 0)
        epsilon = getattr(self, "variance_epsilon", None) or self.eps
        return weight * x * (x.square().mean(-1, keepdim=True) + epsilon).rsqrt()

    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = partial(forward, module)
    return model


def plain_logps(model, prompt_ids, token_ids):
    """Log-probability of each completion token from the model's own logits, nothing batched, packed or shared."""
    logits_TV = model(torch.tensor([[*prompt_ids, *token_ids]])).logits[0]
    logps_TV = logits_TV.to(torch.float64).log_softmax(-1)
    return torch.stack([logps_TV[len(prompt_ids) - 1 + at, token] for at, token in enumerate(token_ids)])
