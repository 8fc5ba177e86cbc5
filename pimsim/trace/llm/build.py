"""The operators of a language model: a prompt, or one generated token."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypedDict

from pimsim.errors import TraceError, suggest
from pimsim.trace.llm.config import LlmConfig
from pimsim.trace.op import Operator, Tensor, Trace

WEIGHT_DTYPES = ("fp32", "bf16", "fp16", "fp8", "int8", "int4")

_QUANTISED = re.compile(r"w(4|8|16)a(8|16)(?:kv(4|8|16))?", re.ASCII)
_OF_BITS = {"4": "int4", "8": "int8", "16": "bf16"}


class Types(TypedDict):
    """Types of a model's tensors, as arguments of the traces."""

    weight_dtype: str
    activation_dtype: str
    kv_dtype: str


def quantised(name: str) -> Types:
    """The three types behind a name such as `w4a16`, `w8a8` or `w4a16kv8`, as arguments of the traces.

    Numbers are bits: 4 int4, 8 int8, 16 bf16. Without `kv` the cache has the type of the activations.
    With 8-bit activations every tensor between operators is int8, sums inside operators are not seen.
    """
    match = _QUANTISED.fullmatch(name.lower())
    if not match:
        raise TraceError(f"no types named {name!r}: wanted such as w4a16, w8a8, w4a16kv8")
    weight, activation, kv = match.groups()
    return {
        "weight_dtype": _OF_BITS[weight],
        "activation_dtype": _OF_BITS[activation],
        "kv_dtype": _OF_BITS[kv or activation],
    }


def expert_rows(first: int, tokens: int, experts: int, chosen: int) -> tuple[int, ...]:
    """Tokens that each expert gets, of `tokens` tokens from position `first` on.

    Which experts a token meets depends on its data. The rule here is declared, not observed: the token at
    position p goes to the experts p * chosen + 0, 1, ... (chosen - 1), modulo their number. So all experts
    are equally busy, which is what the balancing loss of training aims at.
    """
    slots, start = tokens * chosen, first * chosen
    return tuple(slots // experts + ((e - start) % experts < slots % experts) for e in range(experts))


def prefill_trace(
    config: LlmConfig,
    prompt: int,
    *,
    weight_dtype: str = "bf16",
    kv_dtype: str | None = None,
    activation_dtype: str = "bf16",
) -> Trace:
    """The operators that read a prompt of `prompt` tokens and give the logits of its last token.

    `kv_dtype` is `activation_dtype` unless given. Integer and fp8 weights are those of the linear
    layers and the embedding; norms and biases then stay bf16.
    """
    _count("prompt", prompt, 1)
    meta = {"mode": "prefill", "prompt": prompt}
    builder = _Builder(config, "prefill", weight_dtype, kv_dtype, activation_dtype)
    return builder.trace(f"{config.name}-prefill-{prompt}", meta, tokens=prompt, context=prompt)


def decode_trace(
    config: LlmConfig,
    context: int,
    *,
    step: int = 0,
    weight_dtype: str = "bf16",
    kv_dtype: str | None = None,
    activation_dtype: str = "bf16",
) -> Trace:
    """The operators that generate one token with `context` tokens already in the KV cache.

    The new token is appended first, so attention sees `context + 1`; a layer with a sliding window sees
    and keeps no more than the window. `step` numbers the phase, `decode[step]`. The dtypes are as in
    `prefill_trace`.
    """
    _count("context", context, 0)
    _count("step", step, 0)
    meta = {"mode": "decode", "context": context, "step": step}
    builder = _Builder(config, f"decode[{step}]", weight_dtype, kv_dtype, activation_dtype)
    return builder.trace(f"{config.name}-decode-{context}", meta, tokens=1, context=context + 1)


class _Builder:
    """Collects the operators of one pass over the model.

    A weight is named after its operator, `layers.3.q_proj.weight`; so is what an operator computes:
    `layers.3.q_proj.out`.
    """

    def __init__(
        self, config: LlmConfig, phase: str, weight_dtype: str, kv_dtype: str | None, activation_dtype: str
    ) -> None:
        self.config = config
        self.phase = phase
        self.dtypes = {
            "weight": weight_dtype,
            "activation": activation_dtype,
            "kv": kv_dtype or activation_dtype,
        }
        for what, dtype in self.dtypes.items():
            if dtype not in WEIGHT_DTYPES:
                raise TraceError(f"{what}_dtype: no dtype {dtype!r}{suggest(str(dtype), WEIGHT_DTYPES)}")
        self.vector_dtype = weight_dtype if weight_dtype in ("fp32", "fp16") else "bf16"
        self.tensors: dict[str, Tensor] = {}
        self.operators: list[Operator] = []
        self.layer: int | None = None

    def trace(self, name: str, meta: Mapping[str, Any], *, tokens: int, context: int) -> Trace:
        """All operators for `tokens` new tokens, the last ones of `context`."""
        config, hidden, wide = self.config, self.config.hidden_size, self.config.embedding_size
        ids = self.tensor("tokens", (tokens,), "input", "int32")
        table = self.weight("embed_tokens.weight", config.vocab_size, wide)
        x = self.op("gather", "embed_tokens", [table, ids], (tokens, wide), rows=tokens)
        x = self.after_embedding(x, tokens, context)
        for self.layer in range(config.num_hidden_layers):
            x = self.decoder_layer(x, tokens, context)
        self.layer = None
        if config.do_layer_norm_before:
            x = self.norm("norm", x, 1)
        elif tokens > 1:  # no norm takes the last row: a gather does
            x = self.op("gather", "last_token", [x], (1, hidden), rows=1)
        if wide != hidden:
            out = self.weight("project_out.weight", wide, hidden)
            x = self.op("matmul", "project_out", [x, out], (1, wide))
        head = table if config.tie_word_embeddings else self.weight("lm_head.weight", config.vocab_size, wide)
        if config.final_logit_softcapping:
            x = self.op("matmul", "lm_head", [x, head], (1, config.vocab_size))
            logits = self.logits()
            self.append("elementwise", "softcap", [x], [logits], function="softcap")
        else:
            logits = self.logits()
            self.append("matmul", "lm_head", [x, head], [logits])
        dtypes = {f"{what}_dtype": dtype for what, dtype in self.dtypes.items()}
        return Trace(
            name=name,
            tensors=tuple(self.tensors.values()),
            operators=tuple(self.operators),
            meta={"model": config.described(), **meta, **dtypes},
        )

    def logits(self) -> str:
        return self.tensor("logits", (1, self.config.vocab_size), "output", self.dtypes["activation"])

    def after_embedding(self, x: str, tokens: int, context: int) -> str:
        """Scaling, projection and learned positions between the embedding and the first layer."""
        config, hidden = self.config, self.config.hidden_size
        if config.family.scaled_embedding:
            x = self.op("elementwise", "embed_scale", [x], (tokens, hidden), function="mul")
        if config.embedding_size != hidden:
            into = self.weight("project_in.weight", hidden, config.embedding_size)
            x = self.op("matmul", "project_in", [x, into], (tokens, hidden))
        if config.family.learned_positions:
            rows = config.max_position_embeddings + config.family.learned_positions
            if context > config.max_position_embeddings:
                raise TraceError(
                    f"{config.name}: {context} tokens, but the model has learned "
                    f"{config.max_position_embeddings} positions"
                )
            table = self.weight("embed_positions.weight", rows, hidden)
            at = self.op("gather", "embed_positions", [table], (tokens, hidden), rows=tokens)
            x = self.op("elementwise", "position_add", [x, at], (tokens, hidden), function="add")
        return x

    def decoder_layer(self, x: str, tokens: int, context: int) -> str:
        """One decoder layer on x (tokens, hidden); returns the name of its output."""
        config, family, shape = self.config, self.config.family, (tokens, self.config.hidden_size)
        before = config.do_layer_norm_before
        h = self.norm(self.name("input_layernorm"), x, tokens) if before else x
        h = self.attention(h, tokens, context)
        if family.sandwich:
            h = self.norm(self.name("post_attention_layernorm"), h, tokens)
        x = self.op("elementwise", self.name("attention_add"), [x, h], shape, function="add")
        if not before:
            x = self.norm(self.name("input_layernorm"), x, tokens)

        inner_norm = "pre_feedforward_layernorm" if family.sandwich else "post_attention_layernorm"
        h = self.norm(self.name(inner_norm), x, tokens) if before else x
        h = self.experts(h, tokens, context) if config.num_experts else self.mlp(h, tokens)
        if family.sandwich:
            h = self.norm(self.name("post_feedforward_layernorm"), h, tokens)
        x = self.op("elementwise", self.name("mlp_add"), [x, h], shape, function="add")
        return x if before else self.norm(self.name(inner_norm), x, tokens)

    def attention(self, h: str, tokens: int, context: int) -> str:
        """Attention with its linear layers and its cache, on h (tokens, hidden)."""
        config, family = self.config, self.config.family
        layer = self.layer or 0
        bias = config.attention_bias or family.all_biases
        q, k, v = (
            self.linear(name, h, tokens, size, bias=bias or family.qkv_bias)
            for name, size in (
                ("q_proj", config.q_size),
                ("k_proj", config.kv_size),
                ("v_proj", config.kv_size),
            )
        )
        if family.head_norms:
            q, k = self.head_norm("q_norm", q, tokens), self.head_norm("k_norm", k, tokens)
        if not family.learned_positions:
            q, k = self.rope(q, k, tokens)

        window = config.window(layer)
        seen = min(context, window) if window else context
        caches = [
            self.tensor(self.name(name), (seen, config.kv_size), "kv", self.dtypes["kv"])
            for name in ("k_cache", "v_cache")
        ]
        extra: dict[str, Any] = {}
        keys = caches
        if seen >= context or tokens == 1:
            row = (context - tokens) % seen  # of a full window the oldest row is overwritten
            self.append("copy", self.name("kv_append"), [k, v], caches, row=row)
        else:  # a prompt longer than the window: attention reads the prompt, the cache keeps its end
            for name, source, cache in zip(("k_keep", "v_keep"), (k, v), caches, strict=True):
                self.append("gather", self.name(name), [source], [cache], rows=seen)
            keys, extra = [k, v], {"window": window}
            seen = context
        attended = self.op(
            "attention",
            self.name("attention"),
            [q, *keys],
            (tokens, config.q_size),
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            context=seen,
            causal=True,
            **extra,
        )
        return self.linear("o_proj", attended, tokens, config.hidden_size, bias=bias)

    def rope(self, q: str, k: str, tokens: int) -> tuple[str, str]:
        """Queries and keys, turned by their positions."""
        config = self.config
        turned = [self.activation(self.name("rope.q"), (tokens, config.q_size))]
        turned += [self.activation(self.name("rope.k"), (tokens, config.kv_size))]
        heads = config.num_attention_heads + config.num_key_value_heads
        part = {"active": tokens * heads * config.rotary_dim} if config.rotary_dim < config.head_dim else {}
        self.append("elementwise", self.name("rope"), [q, k], turned, function="rope", **part)
        return turned[0], turned[1]

    def mlp(self, h: str, tokens: int) -> str:
        """The dense MLP on h (tokens, hidden)."""
        config, family = self.config, self.config.family
        inner, hidden, bias = config.intermediate_size, config.hidden_size, family.all_biases
        if not family.gated:
            wide = self.linear("fc1", h, tokens, inner, bias=bias)
            act = config.hidden_act
            wide = self.op("elementwise", self.name(act), [wide], (tokens, inner), function=act)
            return self.linear("fc2", wide, tokens, hidden, bias=bias)
        gate = self.linear("gate_proj", h, tokens, inner)
        up = self.linear("up_proj", h, tokens, inner)
        act = self.gate_function
        product = self.op("elementwise", self.name(act), [gate, up], (tokens, inner), function=act)
        return self.linear("down_proj", product, tokens, hidden)

    def experts(self, h: str, tokens: int, context: int) -> str:
        """Router and experts on h (tokens, hidden); who gets which token: `expert_rows`.

        All experts' weights are tensors of the trace; only those that get a token have operators.
        """
        config, hidden = self.config, self.config.hidden_size
        count, chosen, inner = config.num_experts, config.num_experts_per_tok, config.moe_intermediate_size
        scores = self.linear("router", h, tokens, count)
        shares = self.op("softmax", self.name("router_softmax"), [scores], (tokens, count))
        top = self.op("reduce", self.name("router_top"), [shares], (tokens, chosen))
        act = self.gate_function
        results = []
        for expert, rows in enumerate(expert_rows(context - tokens, tokens, count, chosen)):
            own = f"expert{expert}"
            gate_w, up_w, down_w = (
                self.weight(self.name(f"{own}_{what}.weight"), n, k)
                for what, n, k in (
                    ("gate_proj", inner, hidden),
                    ("up_proj", inner, hidden),
                    ("down_proj", hidden, inner),
                )
            )
            if not rows:
                continue
            part = h
            if rows < tokens:
                part = self.op("gather", self.name(f"{own}_tokens"), [h], (rows, hidden), rows=rows)
            gate = self.op("matmul", self.name(f"{own}_gate_proj"), [part, gate_w], (rows, inner))
            up = self.op("matmul", self.name(f"{own}_up_proj"), [part, up_w], (rows, inner))
            product = self.op(
                "elementwise", self.name(f"{own}_{act}"), [gate, up], (rows, inner), function=act
            )
            down = self.op("matmul", self.name(f"{own}_down_proj"), [product, down_w], (rows, hidden))
            results.append(
                self.op("elementwise", self.name(f"{own}_scale"), [down, top], (rows, hidden), function="mul")
            )
        slots = self.activation(self.name("expert_slots"), (tokens * chosen, hidden))
        self.append("copy", self.name("expert_collect"), results, [slots] * len(results))
        return self.op("reduce", self.name("expert_sum"), [slots], (tokens, hidden))

    @property
    def gate_function(self) -> str:
        return "silu_mul" if self.config.hidden_act == "silu" else "gelu_mul"

    def name(self, name: str) -> str:
        """`name` within the current layer."""
        return f"layers.{self.layer}.{name}"

    def linear(self, name: str, x: str, tokens: int, n: int, *, bias: bool = False) -> str:
        """A matmul of the current layer; its weight is (n, k), one row per output."""
        name = self.name(name)
        inputs = [x, self.weight(f"{name}.weight", n, self.tensors[x].shape[-1])]
        if bias:
            inputs.append(self.tensor(f"{name}.bias", (n,), "weight", self.vector_dtype))
        return self.op("matmul", name, inputs, (tokens, n))

    def norm(self, name: str, x: str, rows: int) -> str:
        """A norm of the last `rows` rows of x."""
        hidden = self.config.hidden_size
        inputs = [x, self.tensor(f"{name}.weight", (hidden,), "weight", self.vector_dtype)]
        if self.config.family.all_biases:
            inputs.append(self.tensor(f"{name}.bias", (hidden,), "weight", self.vector_dtype))
        return self.op("norm", name, inputs, (rows, hidden))

    def head_norm(self, name: str, x: str, rows: int) -> str:
        """A norm of every head of x by itself, one weight for all heads."""
        name, (_, width), dim = self.name(name), self.tensors[x].shape, self.config.head_dim
        weight = self.tensor(f"{name}.weight", (dim,), "weight", self.vector_dtype)
        return self.op("norm", name, [x, weight], (rows, width), groups=width // dim)

    def weight(self, name: str, n: int, k: int) -> str:
        return self.tensor(name, (n, k), "weight", self.dtypes["weight"])

    def activation(self, name: str, shape: tuple[int, ...]) -> str:
        return self.tensor(name, shape, "activation", self.dtypes["activation"])

    def tensor(self, name: str, shape: tuple[int, ...], role: str, dtype: str) -> str:
        self.tensors[name] = Tensor(name=name, shape=shape, dtype=dtype, role=role)
        return name

    def op(self, kind: str, name: str, inputs: list[str], shape: tuple[int, ...], **attrs: Any) -> str:
        """An operator with one new output of that shape; returns the output's name."""
        output = self.activation(f"{name}.out", shape)
        self.append(kind, name, inputs, [output], **attrs)
        return output

    def append(self, kind: str, name: str, inputs: list[str], outputs: list[str], **attrs: Any) -> None:
        self.operators.append(
            Operator(
                kind=kind,
                name=name,
                inputs=tuple(inputs),
                outputs=tuple(outputs),
                attrs=attrs,
                phase=self.phase,
                layer=self.layer,
            )
        )


def _count(what: str, value: int, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise TraceError(f"{what}={value!r}: wanted an integer >= {least}")
