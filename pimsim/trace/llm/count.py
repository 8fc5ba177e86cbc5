"""Parameters of a model by arithmetic on its configuration; the traces are checked against it."""

from __future__ import annotations

from pimsim.trace.llm.config import LlmConfig


def parameters(config: LlmConfig, *, active: bool = False) -> int:
    """Weights of the model; a tied embedding counts once. active: only the experts that one token meets."""
    family = config.family
    h, wide, head = config.hidden_size, config.embedding_size, config.head_dim
    q, kv, inner = config.q_size, config.kv_size, config.intermediate_size
    norm = 2 * h if family.all_biases else h

    attention = h * q + 2 * h * kv + q * h
    if config.attention_bias or family.all_biases:
        attention += q + 2 * kv + h
    elif family.qkv_bias:
        attention += q + 2 * kv
    if family.head_norms:
        attention += 2 * head

    mlp = (3 if family.gated else 2) * h * inner + (inner + h if family.all_biases else 0)
    if config.num_experts:
        experts = config.num_experts_per_tok if active else config.num_experts
        mlp = config.num_experts * h + experts * 3 * h * config.moe_intermediate_size
    layer = attention + mlp + (4 if family.sandwich else 2) * norm

    around = config.vocab_size * wide * (1 if config.tie_word_embeddings else 2)
    if family.learned_positions:
        around += (config.max_position_embeddings + family.learned_positions) * h
    if wide != h:
        around += 2 * wide * h  # into and out of the layers
    return around + config.num_hidden_layers * layer + (norm if config.do_layer_norm_before else 0)
