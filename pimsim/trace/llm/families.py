"""What the models of one `model_type` have in common and their config.json does not say.

Facts are those of the model's class in Hugging Face transformers: which layers carry biases, where norms
stand, and what an absent key means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GELU = "gelu_pytorch_tanh"


@dataclass(frozen=True, kw_only=True)
class Family:
    """One `model_type`.

    keys: names in config.json -> fields of `LlmConfig`, besides those that every model has.
    defaults: values of fields whose key is absent. activations: values of `hidden_act` that are modelled.
    """

    keys: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    activations: tuple[str, ...] = ("silu",)
    qkv_bias: bool = False
    all_biases: bool = False  # every linear layer and norm, but neither head nor projections
    head_norms: bool = False  # queries and keys are normed head by head
    sandwich: bool = False  # norms after attention and MLP as well as before
    gated: bool = True  # act(gate) * up; else one matrix before the activation
    learned_positions: int = 0  # 0: rotary; else a table with that many rows more than positions
    scaled_embedding: bool = False
    plain_sliding_window: bool = True  # `sliding_window` alone means a window; else a switch is needed


_WINDOW = {"sliding_window": "sliding_window"}
_GEMMA = _WINDOW | {
    "sliding_window_pattern": "full_attention_interval",
    "final_logit_softcapping": "final_logit_softcapping",
    "hidden_activation": "hidden_act",
}
_EXPERTS = {"num_experts_per_tok": "num_experts_per_tok"}

FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family(keys=_WINDOW, defaults={"sliding_window": 4096}),
    "mixtral": Family(keys=_WINDOW | _EXPERTS | {"num_local_experts": "num_experts"}),
    "qwen2": Family(qkv_bias=True, plain_sliding_window=False),
    "qwen3": Family(head_norms=True, defaults={"head_dim": 128}, plain_sliding_window=False),
    "qwen3_moe": Family(
        keys=_EXPERTS | {"num_experts": "num_experts", "moe_intermediate_size": "moe_intermediate_size"},
        head_norms=True,
        plain_sliding_window=False,
    ),
    "gemma2": Family(
        keys=_GEMMA,
        defaults={
            "tie_word_embeddings": True,
            "head_dim": 256,
            "hidden_act": GELU,
            "sliding_window": 4096,
            "full_attention_interval": 2,
            "final_logit_softcapping": 30.0,
        },
        activations=(GELU,),
        sandwich=True,
        scaled_embedding=True,
    ),
    "gemma3_text": Family(
        keys=_GEMMA,
        defaults={
            "tie_word_embeddings": True,
            "head_dim": 256,
            "hidden_act": GELU,
            "sliding_window": 4096,
            "full_attention_interval": 6,
        },
        activations=(GELU,),
        head_norms=True,
        sandwich=True,
        scaled_embedding=True,
    ),
    "phi3": Family(keys=_WINDOW | {"partial_rotary_factor": "partial_rotary_factor"}),
    "opt": Family(
        keys={
            "ffn_dim": "intermediate_size",
            "activation_function": "hidden_act",
            "max_position_embeddings": "max_position_embeddings",
            "word_embed_proj_dim": "word_embed_proj_dim",
            "do_layer_norm_before": "do_layer_norm_before",
        },
        defaults={"tie_word_embeddings": True, "hidden_act": "relu", "max_position_embeddings": 2048},
        activations=("relu",),
        all_biases=True,
        gated=False,
        learned_positions=2,
    ),
}
