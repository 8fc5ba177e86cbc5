"""Decoder-only language models: traces from a Hugging Face `config.json`, without PyTorch.

The operators are those of the Llama implementation of Hugging Face transformers, one sequence at a
time. Left out: the tables of sines and cosines, the scales of quantised weights, sampling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from pimsim.errors import TraceError, suggest
from pimsim.trace.op import Operator, Tensor, Trace

WEIGHT_DTYPES = ("fp32", "bf16", "fp16", "fp8", "int8", "int4")

_MODEL_TYPES = ("llama",)
_TORCH_DTYPES = ("bfloat16", "float16", "float32")

# Keys of a config.json that change neither the operators nor their shapes.
_IGNORED = frozenset(
    """_attn_implementation_autoset _name_or_path architectures attention_dropout auto_map bos_token_id
    decoder_start_token_id do_sample eos_token_id id2label initializer_range is_decoder label2id max_length
    max_position_embeddings num_return_sequences output_attentions output_hidden_states pad_token_id
    pretraining_tp return_dict rope_parameters rope_scaling sep_token_id task_specific_params temperature
    tokenizer_class top_k top_p torchscript transformers_version unsloth_fixed unsloth_version
    use_cache""".split()  # noqa: SIM905
)
# Keys that change the computation: only these values are modelled.
_ONLY: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "mlp_bias": (False, None),
    "num_local_experts": (None, 1),
    "num_experts": (None, 1),
    "num_experts_per_tok": (None,),
    "sliding_window": (None,),
    "use_sliding_window": (False, None),
    "layer_types": (None,),
    "quantization_config": (None,),
    "compression_config": (None,),
    "pruned_heads": (None, {}),
    "partial_rotary_factor": (None, 1.0),
    "attention_chunk_size": (None,),
    "qk_norm": (None, False),
}


@dataclass(frozen=True, kw_only=True)
class LlmConfig:
    """A decoder-only model, with the names of its `config.json`; checked when built."""

    name: str
    model_type: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    torch_dtype: str = "bfloat16"

    def __post_init__(self) -> None:
        problem = _problem(asdict(self))
        if problem:
            raise TraceError(f"model {self.name!r}: {problem[1]}")

    @property
    def q_size(self) -> int:
        """Elements of all query heads of a token."""
        return self.num_attention_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Elements of all key (or value) heads of a token."""
        return self.num_key_value_heads * self.head_dim


def models() -> tuple[str, ...]:
    """Names of the models that come with pimsim."""
    return tuple(
        sorted(each.name.removesuffix(".json") for each in _configs() if each.name.endswith(".json"))
    )


def load_config(name_or_path: str | Path) -> LlmConfig:
    """A shipped model by its name, or any `config.json` by its path (or that of its folder)."""
    name = str(name_or_path)
    if name.lower() in models():
        shipped = resources.files("pimsim.trace") / "configs" / f"{name.lower()}.json"
        return _parse(shipped.read_text(encoding="utf-8"), f"{name.lower()}.json", name.lower())
    path = Path(name_or_path)
    if path.is_dir():
        path /= "config.json"
    if not path.exists() and path.suffix != ".json" and len(path.parts) == 1:
        raise TraceError(f"no model named {name!r}{suggest(name, models())} (or the path of a config.json)")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TraceError(f"{path}: cannot read the model configuration: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: the model configuration is not UTF-8 text: {error}") from error
    folder = path.resolve().parent.name
    return _parse(text, str(path), folder if path.stem == "config" and folder else path.stem)


def parameters(config: LlmConfig) -> int:
    """Weights of the model, by arithmetic on its configuration; a tied embedding counts once."""
    h, q, kv = config.hidden_size, config.q_size, config.kv_size
    attention = h * q + 2 * h * kv + q * h
    if config.attention_bias:
        attention += q + 2 * kv + h
    layer = attention + 3 * h * config.intermediate_size + 2 * h
    embeddings = config.vocab_size * h * (1 if config.tie_word_embeddings else 2)
    return embeddings + config.num_hidden_layers * layer + h


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

    The new token is appended first, so attention sees `context + 1`. `step` numbers the phase,
    `decode[step]`. The dtypes are as in `prefill_trace`.
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
        config, hidden = self.config, self.config.hidden_size
        ids = self.tensor("tokens", (tokens,), "input", "int32")
        table = self.weight("embed_tokens.weight", config.vocab_size, hidden)
        x = self.op("gather", "embed_tokens", [table, ids], (tokens, hidden), rows=tokens)
        for self.layer in range(config.num_hidden_layers):
            x = self.decoder_layer(x, tokens, context)
        self.layer = None
        x = self.norm("norm", x, 1)
        head = (
            table if config.tie_word_embeddings else self.weight("lm_head.weight", config.vocab_size, hidden)
        )
        logits = self.tensor("logits", (1, config.vocab_size), "output", self.dtypes["activation"])
        self.append("matmul", "lm_head", [x, head], [logits])
        dtypes = {f"{what}_dtype": dtype for what, dtype in self.dtypes.items()}
        return Trace(
            name=name,
            tensors=tuple(self.tensors.values()),
            operators=tuple(self.operators),
            meta={"model": asdict(config), **meta, **dtypes},
        )

    def decoder_layer(self, x: str, tokens: int, context: int) -> str:
        """One decoder layer on x (tokens, hidden); returns the name of its output."""
        config, hidden = self.config, self.config.hidden_size
        wide = (tokens, config.intermediate_size)

        h = self.norm(self.name("input_layernorm"), x, tokens)
        q, k, v = (
            self.linear(name, h, tokens, size, bias=config.attention_bias)
            for name, size in (
                ("q_proj", config.q_size),
                ("k_proj", config.kv_size),
                ("v_proj", config.kv_size),
            )
        )
        turned = [self.activation(self.name("rope.q"), (tokens, config.q_size))]
        turned += [self.activation(self.name("rope.k"), (tokens, config.kv_size))]
        self.append("elementwise", self.name("rope"), [q, k], turned, function="rope")
        caches = [
            self.tensor(self.name(name), (context, config.kv_size), "kv", self.dtypes["kv"])
            for name in ("k_cache", "v_cache")
        ]
        self.append("copy", self.name("kv_append"), [turned[1], v], caches, row=context - tokens)
        attended = self.op(
            "attention",
            self.name("attention"),
            [turned[0], *caches],
            (tokens, config.q_size),
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            context=context,
            causal=True,
        )
        o = self.linear("o_proj", attended, tokens, hidden, bias=config.attention_bias)
        x = self.op("elementwise", self.name("attention_add"), [x, o], (tokens, hidden), function="add")

        h = self.norm(self.name("post_attention_layernorm"), x, tokens)
        gate = self.linear("gate_proj", h, tokens, config.intermediate_size)
        up = self.linear("up_proj", h, tokens, config.intermediate_size)
        product = self.op("elementwise", self.name("silu_mul"), [gate, up], wide, function="silu_mul")
        down = self.linear("down_proj", product, tokens, hidden)
        return self.op("elementwise", self.name("mlp_add"), [x, down], (tokens, hidden), function="add")

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
        weight = self.tensor(f"{name}.weight", (hidden,), "weight", self.vector_dtype)
        return self.op("norm", name, [x, weight], (rows, hidden))

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


def _configs() -> list[Any]:
    return list((resources.files("pimsim.trace") / "configs").iterdir())


def _parse(text: str, where: str, name: str) -> LlmConfig:
    """The configuration in the text of a config.json; complaints name the file and the line."""

    def fail(key: str, message: str) -> TraceError:
        return TraceError(f"{where}:{_line_of(text, key)}: {message}")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in pairs:
            if key in values:
                raise fail(key, f"{key!r} is given twice")
            values[key] = value
        return values

    try:
        given = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise TraceError(f"{where}:{error.lineno}: not JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise TraceError(f"{where}:1: not a model configuration: nested too deeply") from None
    if not isinstance(given, dict):
        raise TraceError(
            f"{where}:1: not a model configuration: wanted a JSON object, got {type(given).__name__}"
        )
    if "model_type" not in given:
        raise TraceError(f"{where}:1: no 'model_type': wanted one of {', '.join(_MODEL_TYPES)}")
    if given["model_type"] not in _MODEL_TYPES:
        raise fail("model_type", _unsupported(given["model_type"]))

    known = {field.name for field in fields(LlmConfig)} - {"name"}
    values = {key: value for key, value in given.items() if key in known}
    for key, value in given.items():
        if key in known or key in _IGNORED:
            continue
        if key == "dtype":  # the newer name of torch_dtype
            values.setdefault("torch_dtype", value)
        elif key not in _ONLY:
            raise fail(
                key,
                f"unknown key {key!r}{_near(key, known | _IGNORED | set(_ONLY))}: it may change the model",
            )
        elif not any(
            value == only and isinstance(value, bool) == isinstance(only, bool) for only in _ONLY[key]
        ):
            wanted = " or ".join(
                "null or absent" if only is None else json.dumps(only) for only in _ONLY[key]
            )
            raise fail(key, f"{key}={json.dumps(value)} is not modelled: wanted {wanted}")
    for key in ("rope_scaling", "rope_parameters"):
        if not isinstance(given.get(key) or {}, dict):
            raise fail(key, f"{key}={json.dumps(given[key])}: wanted an object or null")
    inner = given.get("rope_parameters") or {}  # where newer configurations keep rope_theta
    if "rope_theta" in inner:
        values.setdefault("rope_theta", inner["rope_theta"])
    if inner.get("partial_rotary_factor", 1.0) != 1.0:
        raise fail("partial_rotary_factor", "partial_rotary_factor is not modelled: wanted 1.0 or absent")
    _defaults(values)
    problem = _problem(values)
    if problem:
        raise fail(*problem)
    return LlmConfig(name=name, **values)


def _defaults(values: dict[str, Any]) -> None:
    """Fill in what transformers derives when a key is absent or null."""
    for key in ("num_key_value_heads", "head_dim", "torch_dtype"):
        if values.get(key) is None:
            values.pop(key, None)
    heads: Any = values.get("num_attention_heads")
    hidden: Any = values.get("hidden_size")
    if heads is not None:
        values.setdefault("num_key_value_heads", heads)
    if "head_dim" not in values and _positive(heads) and _positive(hidden) and hidden % heads == 0:
        values["head_dim"] = hidden // heads


def _problem(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first key whose value cannot be, and why; None when all is well."""
    if values.get("model_type") not in _MODEL_TYPES:
        return "model_type", _unsupported(values.get("model_type"))
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {}
    for field in fields(LlmConfig):
        if field.type == "int":
            checks[field.name] = (_positive, "a positive integer")
        elif field.type == "bool":
            checks[field.name] = (lambda value: isinstance(value, bool), "true or false")
        elif field.type == "float":
            checks[field.name] = (_positive_number, "a positive number")
    checks["torch_dtype"] = (lambda value: value in _TORCH_DTYPES, f"one of {', '.join(_TORCH_DTYPES)}")
    for key, (holds, wanted) in checks.items():
        if key in values and not holds(values[key]):
            return key, f"{key}={json.dumps(values[key], default=repr)}: wanted {wanted}"
    heads: Any = values.get("num_attention_heads")
    kv_heads: Any = values.get("num_key_value_heads")
    for field in fields(LlmConfig):
        if field.type == "int" and field.name not in values:
            if field.name == "head_dim" and heads is not None and "hidden_size" in values:
                return "hidden_size", (
                    f"hidden_size={values['hidden_size']} is no multiple of num_attention_heads={heads}, "
                    "and no head_dim is given"
                )
            return field.name, f"no {field.name!r}: wanted a positive integer"
    if heads % kv_heads:
        return (
            "num_key_value_heads",
            f"num_attention_heads={heads} is no multiple of num_key_value_heads={kv_heads}",
        )
    if values["head_dim"] % 2:
        return (
            "head_dim",
            f"head_dim={values['head_dim']}: rotary embeddings turn pairs, wanted an even number",
        )
    return None


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _positive_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _unsupported(model_type: Any) -> str:
    return f"model_type {model_type!r} is not supported: wanted {', '.join(_MODEL_TYPES)}"


def _near(key: str, known: set[str]) -> str:
    hint = suggest(key, known)
    return "" if hint.startswith("; known") else hint


def _line_of(text: str, key: str) -> int:
    """The line (from 1) of a key in JSON text; 1 when it is not there."""
    match = re.search(rf'"{re.escape(key)}"\s*:', text)
    return text.count("\n", 0, match.start()) + 1 if match else 1


def _count(what: str, value: int, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise TraceError(f"{what}={value!r}: wanted an integer >= {least}")
