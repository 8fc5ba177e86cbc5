"""Language models of Hugging Face `transformers`, from their configuration alone. Extra `torch`.

    captured = capture_language_model("config.json", prompt=128)

The model is built on the meta device, so no weights are read or made, and nothing is fetched.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import msgspec

from pimsim.errors import TraceError, suggest
from pimsim.trace.capture.make import Captured, capture
from pimsim.trace.capture.record import guarded
from pimsim.trace.llm.config import config_text
from pimsim.trace.reading import short

try:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache
except ImportError as error:
    raise TraceError("capturing a language model needs transformers: install pimsim[torch]") from error

MOST_LAYERS = 1000
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class _Pass(torch.nn.Module):
    """One pass with a cache that holds `context` tokens already."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Any, *held: Any) -> Any:
        cache = DynamicCache(config=self.model.config)
        for layer, key, value in zip(cache.layers, held[::2], held[1::2], strict=False):
            layer.lazy_initialization(key, value)
            layer.keys, layer.values = key, value
            if hasattr(layer, "cumulative_length"):
                layer.cumulative_length = key.shape[-2]
        parameters = inspect.signature(self.model.forward).parameters
        name = "cache" if "cache" in parameters else "past_key_values"
        result = self.model(tokens, **{name: cache}, use_cache=True, logits_to_keep=1)
        return result.logits, [(layer.keys, layer.values) for layer in cache.layers]


def capture_language_model(
    config: str | Path,
    *,
    prompt: int | None = None,
    context: int | None = None,
    dtype: str = "bf16",
    fuse: bool = True,
    skip_unknown: bool = False,
) -> Captured:
    """The operators that read a prompt, or that generate one token with `context` tokens in the cache.

    config: a config.json, its folder, or a model that ships. dtype: of weights and activations.
    """
    if (prompt is None) == (context is None):
        raise TraceError("wanted either a prompt or a context")
    for what, given, least in (("prompt", prompt, 1), ("context", context, 0)):
        if given is not None and not least <= given <= 2**24:
            raise TraceError(f"{what}={given}: wanted {least} to {2**24} tokens")
    if dtype not in DTYPES:
        raise TraceError(f"no dtype {dtype!r}{suggest(dtype, DTYPES)}")
    text, where, model_name = config_text(config)
    settings = _settings(text, where)

    def build() -> Any:
        made = AutoConfig.for_model(settings.pop("model_type"), **settings)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(made, dtype=DTYPES[dtype])

    model = guarded(f"building the model of {where}", build).eval()
    own = model.config
    heads = getattr(own, "num_key_value_heads", None) or own.num_attention_heads
    dim = getattr(own, "head_dim", None) or own.hidden_size // own.num_attention_heads
    tokens = torch.empty(1, prompt or 1, dtype=torch.int64, device="meta")
    held = []
    if context:
        layers = DynamicCache(config=own).layers
        for layer in layers:
            window = getattr(layer, "sliding_window", None)
            seen = min(context, window - 1) if window else context
            held += [
                torch.empty(1, heads, seen, dim, dtype=DTYPES[dtype], device="meta") for _ in ("key", "value")
            ]
    mode = f"prefill-{prompt}" if prompt else f"decode-{context}"
    return capture(
        _Pass(model),
        (tokens, *held),
        name=f"{model_name}-{mode}",
        phase="prefill" if prompt else "decode[0]",
        fuse=fuse,
        skip_unknown=skip_unknown,
    )


def _settings(text: str, where: str) -> dict[str, Any]:
    try:
        settings = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise TraceError(f"{where}: not a configuration: {error}") from None
    if not isinstance(settings, dict) or not isinstance(settings.get("model_type"), str):
        raise TraceError(f"{where}: wanted an object with a model_type, got {short(settings)}")
    for key, value in settings.items():  # each is a module to build
        if "layers" in key and isinstance(value, int) and value > MOST_LAYERS:
            raise TraceError(f"{where}: {key}={value}: wanted at most {MOST_LAYERS}")
    # Code that a configuration points to is never loaded.
    return {key: value for key, value in settings.items() if key not in ("auto_map", "_name_or_path")}
