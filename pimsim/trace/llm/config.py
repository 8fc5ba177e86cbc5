"""Configurations of decoder-only models: read from a Hugging Face `config.json`, checked, complete."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from pimsim.errors import TraceError, suggest
from pimsim.trace.llm.families import FAMILIES, Family

_MODEL_TYPES = tuple(FAMILIES)
_TORCH_DTYPES = ("bfloat16", "float16", "float32")

# Keys of a config.json that change neither the operators nor their shapes.
_IGNORED = frozenset(
    """_attn_implementation_autoset _name_or_path activation_dropout architectures attention_dropout
    attn_logit_softcapping auto_map bos_token_id cache_implementation decoder_start_token_id do_sample
    dropout embd_pdrop eos_token_id full_attn_mod id2label init_std initializer_range interpolate_factor
    is_decoder is_llama_config label2id layerdrop max_length max_position_embeddings max_window_layers
    norm_topk_prob num_return_sequences original_max_position_embeddings output_attentions
    output_hidden_states output_router_logits pad_token_id prefix pretraining_tp query_pre_attn_scalar
    resid_pdrop return_dict rope_interleaved rope_local_base_freq rope_parameters rope_scaling
    router_aux_loss_coef router_jitter_noise sep_token_id task_specific_params temperature tokenizer_class
    top_k top_p torchscript transformers.js_config transformers_version unsloth_fixed unsloth_version
    use_cache""".split()  # noqa: SIM905
)
# Keys that change the computation: only these values are modelled, where the family does not read them.
_ONLY: dict[str, tuple[Any, ...]] = {
    "mlp_bias": (False, None),
    "num_local_experts": (None, 1),
    "num_experts": (None, 1),
    "num_experts_per_tok": (None,),
    "moe_intermediate_size": (None,),
    "decoder_sparse_step": (1, None),
    "mlp_only_layers": ([], None),
    "sliding_window": (None,),
    "use_sliding_window": (False, None),
    "quantization_config": (None,),
    "compression_config": (None,),
    "pruned_heads": (None, {}),
    "partial_rotary_factor": (None, 1.0),
    "attention_chunk_size": (None,),
    "qk_norm": (None, False),
    "lm_head_bias": (False, None),
    "enable_bias": (True, None),
    "layer_norm_elementwise_affine": (True, None),
    "_remove_final_layer_norm": (False, None),
    "use_bidirectional_attention": (False, None),
}


@dataclass(frozen=True, kw_only=True)
class LlmConfig:
    """A decoder-only model, with the names of its `config.json`; checked when built.

    sliding_window: tokens in sight of a query, itself included; 0 for all. full_attention_interval: every
    n-th layer sees all tokens in spite of the window; 0 for none. partial_rotary_factor: share of a head's
    elements that rotary embeddings turn. word_embed_proj_dim: width of the embedding where it is not
    hidden_size; 0 for equal. max_position_embeddings: rows of a learned table of positions; else 0.
    Experts: 0 for a dense MLP.
    """

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
    hidden_act: str = "silu"
    sliding_window: int = 0
    full_attention_interval: int = 0
    partial_rotary_factor: float = 1.0
    final_logit_softcapping: float = 0.0
    num_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0
    max_position_embeddings: int = 0
    word_embed_proj_dim: int = 0
    do_layer_norm_before: bool = True

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

    @property
    def family(self) -> Family:
        """What the model's type says beyond its configuration."""
        return FAMILIES[self.model_type]

    @property
    def embedding_size(self) -> int:
        """Width of a row of the embedding."""
        return self.word_embed_proj_dim or self.hidden_size

    @property
    def rotary_dim(self) -> int:
        """Elements of a head that rotary embeddings turn."""
        return int(self.head_dim * self.partial_rotary_factor)

    def window(self, layer: int) -> int:
        """Tokens that a query of the layer sees at most; 0 for all."""
        every = self.full_attention_interval
        return 0 if every and (layer + 1) % every == 0 else self.sliding_window

    def described(self) -> dict[str, Any]:
        """Fields as plain values: those that every model has, and others that are not at their default."""
        return {
            key: value
            for key, value in asdict(self).items()
            if key not in _LATER or value != type(self).__dataclass_fields__[key].default
        }


_LATER = frozenset(
    """hidden_act sliding_window full_attention_interval partial_rotary_factor final_logit_softcapping
    num_experts num_experts_per_tok moe_intermediate_size max_position_embeddings word_embed_proj_dim
    do_layer_norm_before""".split()  # noqa: SIM905
)
"""Fields that not every model has; a description leaves out those at their default."""


LIMIT_BYTES = 4 * 2**20
"""The largest configuration that is read."""


def models() -> tuple[str, ...]:
    """Names of the models that come with pimsim."""
    return tuple(
        sorted(each.name.removesuffix(".json") for each in _configs() if each.name.endswith(".json"))
    )


def load_config(name_or_path: str | Path) -> LlmConfig:
    """A shipped model by its name, or any `config.json` by its path (or that of its folder)."""
    return _parse(*config_text(name_or_path))


def config_text(name_or_path: str | Path) -> tuple[str, str, str]:
    """The text of a `config.json` as `load_config` finds it, its place and the name of the model."""
    name = str(name_or_path)
    if name.lower() in models():
        shipped = resources.files("pimsim.trace") / "configs" / f"{name.lower()}.json"
        return shipped.read_text(encoding="utf-8"), f"{name.lower()}.json", name.lower()
    path = Path(name_or_path)
    if path.is_dir():
        path /= "config.json"
    if not path.exists() and path.suffix != ".json" and len(path.parts) == 1:
        raise TraceError(f"no model named {name!r}{suggest(name, models())} (or the path of a config.json)")
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise TraceError(f"{path}: cannot read the model configuration: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: the model configuration is not UTF-8 text: {error}") from error
    if len(content) > LIMIT_BYTES:
        raise TraceError(f"{path}: more than {LIMIT_BYTES:,} bytes: not a model configuration")
    folder = path.resolve().parent.name
    return text, str(path), folder if path.stem == "config" and folder else path.stem


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

    family = FAMILIES[given["model_type"]]
    own = {field.name for field in fields(LlmConfig)} - {"name", *_LATER}
    field_of = {key: key for key in own} | {"hidden_act": "hidden_act"} | dict(family.keys)
    known = set(field_of) | _IGNORED | set(_ONLY) | {"dtype", "layer_types"}
    values: dict[str, Any] = {}
    key_of: dict[str, str] = {}
    for key, value in given.items():
        if key in field_of:
            values[field_of[key]], key_of[field_of[key]] = value, key
        elif key in _IGNORED or key == "layer_types":
            continue
        elif key == "sliding_window" and not family.plain_sliding_window:
            continue  # of no effect without the switch, which `_ONLY` looks at
        elif key == "dtype":  # the newer name of torch_dtype
            values.setdefault("torch_dtype", value)
        elif key not in _ONLY:
            raise fail(key, f"unknown key {key!r}{_near(key, known)}: it may change the model")
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
    if "partial_rotary_factor" in inner and "partial_rotary_factor" in field_of:
        values.setdefault("partial_rotary_factor", inner["partial_rotary_factor"])
    elif inner.get("partial_rotary_factor", 1.0) != 1.0:
        raise fail("partial_rotary_factor", "partial_rotary_factor is not modelled: wanted 1.0 or absent")
    _defaults(values, family)
    _layer_types(given.get("layer_types"), values, fail)
    problem = _problem(values)
    if problem:
        raise fail(key_of.get(problem[0], problem[0]), problem[1])
    return LlmConfig(name=name, **values)


def _defaults(values: dict[str, Any], family: Family) -> None:
    """Fill in what transformers derives when a key is absent or null."""
    for key, value in family.defaults.items():
        values.setdefault(key, value)
    for key in ("num_key_value_heads", "head_dim", "torch_dtype", "hidden_act", "partial_rotary_factor"):
        if values.get(key) is None:
            values.pop(key, None)
    for key in _LATER:
        if key in values and values[key] is None:
            del values[key]
    heads: Any = values.get("num_attention_heads")
    hidden: Any = values.get("hidden_size")
    if heads is not None:
        values.setdefault("num_key_value_heads", heads)
    if "head_dim" not in values and _positive(heads) and _positive(hidden) and hidden % heads == 0:
        values["head_dim"] = hidden // heads
    if values.get("num_experts") and "intermediate_size" in values:
        values.setdefault("moe_intermediate_size", values["intermediate_size"])
    if values.get("word_embed_proj_dim") == hidden:
        values.pop("word_embed_proj_dim", None)
    if not values.get("sliding_window"):
        values.pop("full_attention_interval", None)


def _layer_types(given: Any, values: dict[str, Any], fail: Callable[[str, str], TraceError]) -> None:
    """What a list of each layer's attention says: a window on all layers but every n-th, or on none."""
    if given is None:
        return
    if not isinstance(given, list) or len(given) != values.get("num_hidden_layers"):
        raise fail("layer_types", "layer_types: wanted a list with one name a layer")
    names = {"full_attention", "sliding_attention"}
    if not all(isinstance(each, str) and each in names for each in given):
        raise fail("layer_types", f"layer_types: wanted {' or '.join(sorted(names))} of every layer")
    if "sliding_attention" not in given:
        values.pop("sliding_window", None)
        values.pop("full_attention_interval", None)
        return
    every = given.index("full_attention") + 1 if "full_attention" in given else 0
    if any((each == "full_attention") != (every > 0 and i % every == 0) for i, each in enumerate(given, 1)):
        raise fail("layer_types", "layer_types: modelled where every n-th layer is full_attention")
    if not values.get("sliding_window"):
        raise fail("layer_types", "layer_types has sliding_attention, but there is no sliding_window")
    values["full_attention_interval"] = every


def _problem(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first key whose value cannot be, and why; None when all is well."""
    if values.get("model_type") not in _MODEL_TYPES:
        return "model_type", _unsupported(values.get("model_type"))
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {}
    for field in fields(LlmConfig):
        if field.type == "int" and field.name in _LATER:
            checks[field.name] = (lambda value: value == 0 or _positive(value), "an integer >= 0")
        elif field.type == "int":
            checks[field.name] = (_positive, "a positive integer")
        elif field.type == "bool":
            checks[field.name] = (lambda value: isinstance(value, bool), "true or false")
        elif field.type == "float":
            checks[field.name] = (_positive_number, "a positive number")
    activations = FAMILIES[values["model_type"]].activations
    checks["final_logit_softcapping"] = (
        lambda value: value == 0.0 or _positive_number(value),
        "a positive number, or null",
    )
    checks["torch_dtype"] = (lambda value: value in _TORCH_DTYPES, f"one of {', '.join(_TORCH_DTYPES)}")
    for key, (holds, wanted) in checks.items():
        if key in values and not holds(values[key]):
            return key, f"{key}={json.dumps(values[key], default=repr)}: wanted {wanted}"
    act = values.get("hidden_act", "silu")
    if act not in activations:
        wanted = " or ".join(json.dumps(each) for each in activations)
        return "hidden_act", f"hidden_act={json.dumps(act, default=repr)} is not modelled: wanted {wanted}"
    heads: Any = values.get("num_attention_heads")
    kv_heads: Any = values.get("num_key_value_heads")
    for field in fields(LlmConfig):
        if field.type == "int" and field.name not in values and field.name not in _LATER:
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
    share = values.get("partial_rotary_factor", 1.0)
    if share > 1 or int(values["head_dim"] * share) % 2 or int(values["head_dim"] * share) < 2:
        return (
            "partial_rotary_factor",
            f"partial_rotary_factor={share} of head_dim={values['head_dim']}: wanted an even number of "
            "elements, at most all",
        )
    experts, chosen = values.get("num_experts", 0), values.get("num_experts_per_tok", 0)
    if chosen > experts or bool(chosen) != bool(experts):
        return "num_experts_per_tok", f"num_experts_per_tok={chosen} of num_experts={experts}"
    if experts and not values.get("moe_intermediate_size"):
        return "moe_intermediate_size", "no 'moe_intermediate_size': wanted a positive integer"
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
