"""Traces of language models: parameter counts of the public models, FLOPs by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.errors import TraceError
from pimsim.trace import (
    LlmConfig,
    decode_trace,
    load_config,
    models,
    parameters,
    plain,
    prefill_trace,
    read_trace,
)

ROOT = Path(__file__).parents[2]
LAYER = [
    "input_layernorm",
    "q_proj",
    "k_proj",
    "v_proj",
    "rope",
    "kv_append",
    "attention",
    "o_proj",
    "attention_add",
    "post_attention_layernorm",
    "gate_proj",
    "up_proj",
    "silu_mul",
    "down_proj",
    "mlp_add",
]
GOOD = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}


def config_of(tmp_path, **changes):
    """The path of a small config.json; None removes a key."""
    path = tmp_path / "config.json"
    values = {key: value for key, value in (GOOD | changes).items() if value is not None}
    path.write_text(json.dumps(values, indent=1))
    return path


# The model pages (huggingface.co/meta-llama/Llama-3.2-1B and -3B) say 1.24B and 3.21B. Exactly, by hand,
# embedding + layers x (linear layers + two norms) + last norm:
# 1B: 128256 x 2048 + 16 x (60 817 408 + 2 x 2048) + 2048
# 3B: 128256 x 3072 + 28 x (100 663 296 + 2 x 3072) + 3072
PUBLIC = {"llama-3.2-1b": 1_235_814_400, "llama-3.2-3b": 3_212_749_824}


@pytest.mark.parametrize("name", models())
def test_parameters_of_the_public_models(name):
    config = load_config(name)
    assert parameters(config) == PUBLIC[name]
    assert prefill_trace(config, 128).parameters() == PUBLIC[name]
    assert decode_trace(config, 128).parameters() == PUBLIC[name]


# By hand: linear layers hold 973 078 528 (1B) and 2 818 572 288 (3B) weights, the tied embedding
# 128256 x 2048 and 128256 x 3072. Prefill reads 128 tokens through the layers and one through the head.
@pytest.mark.parametrize(
    ("name", "linear", "embedding", "layers", "width"),
    [
        ("llama-3.2-1b", 973_078_528, 262_668_288, 16, 2048),
        ("llama-3.2-3b", 2_818_572_288, 394_002_432, 28, 3072),
    ],
)
def test_flops_and_bytes_by_hand(name, linear, embedding, layers, width):
    config = load_config(name)
    prefill, decode = prefill_trace(config, 128), decode_trace(config, 128)

    def flops(trace, kind):
        return sum(trace.flops(op) for op in trace.operators if op.kind == kind)

    assert flops(prefill, "matmul") == 2 * 128 * linear + 2 * embedding
    assert flops(decode, "matmul") == 2 * (linear + embedding)
    assert flops(prefill, "attention") == 4 * width * (128 * 129 // 2) * layers
    assert flops(decode, "attention") == 4 * width * 129 * layers
    weights = sum(each.bytes for each in decode.weights() if len(each.shape) == 2)
    assert weights == 2 * (linear + embedding)


def test_kv_cache_of_the_1b_model():
    # 16 layers x 2 x 8 heads x 64 x 2 bytes = 32 KiB a token.
    trace = decode_trace(load_config("llama-3.2-1b"), 127)
    assert sum(each.bytes for each in trace.tensors if each.role == "kv") == 128 * 32 * 2**10


def test_the_order_of_operators():
    config = load_config("llama-3.2-1b")
    layers = [f"layers.{layer}.{name}" for layer in range(16) for name in LAYER]
    for trace in (prefill_trace(config, 3), decode_trace(config, 3, step=2)):
        assert [op.name for op in trace.operators] == ["embed_tokens", *layers, "norm", "lm_head"]
    assert {op.phase for op in prefill_trace(config, 3).operators} == {"prefill"}
    assert {op.phase for op in trace.operators} == {"decode[2]"}
    q_proj = next(op for op in trace.operators if op.name == "layers.3.q_proj")
    assert q_proj.layer == 3
    assert q_proj.inputs[1] == "layers.3.q_proj.weight"
    assert trace.operators[-1].layer is None


def test_every_tensor_is_computed_before_it_is_read():
    for trace in (
        prefill_trace(load_config("llama-3.2-1b"), 5),
        decode_trace(load_config("llama-3.2-1b"), 5),
    ):
        known = {each.name for each in trace.tensors if each.role in ("weight", "input")}
        for op in trace.operators:
            assert known.issuperset(op.inputs), op.name
            known.update(op.outputs)
        assert known == {each.name for each in trace.tensors}


def test_shapes_of_the_3b_model():
    trace = prefill_trace(load_config("llama-3.2-3b"), 128)
    shapes = {op.name: trace.matmul_shape(op) for op in trace.operators if op.kind == "matmul"}
    assert shapes["layers.0.q_proj"] == (128, 3072, 3072)
    assert shapes["layers.0.k_proj"] == (128, 1024, 3072)
    assert shapes["layers.27.gate_proj"] == (128, 8192, 3072)
    assert shapes["layers.27.down_proj"] == (128, 3072, 8192)
    assert shapes["lm_head"] == (1, 128256, 3072)
    assert trace.tensor("layers.0.gate_proj.weight").bytes == 48 * 2**20


def test_a_tied_head_uses_the_embedding_itself():
    config = load_config("llama-3.2-1b")
    tied, untied = (decode_trace(replace(config, tie_word_embeddings=tie), 0) for tie in (True, False))
    assert tied.operators[-1].inputs[1] == tied.operators[0].inputs[0] == "embed_tokens.weight"
    assert untied.operators[-1].inputs[1] == "lm_head.weight"
    assert untied.parameters() - tied.parameters() == 128256 * 2048


def test_dtypes():
    config = load_config("llama-3.2-1b")
    trace = prefill_trace(config, 4, weight_dtype="int4", kv_dtype="int8", activation_dtype="fp16")
    assert trace.tensor("layers.0.q_proj.weight").dtype == trace.tensor("embed_tokens.weight").dtype == "int4"
    assert trace.tensor("layers.0.input_layernorm.weight").dtype == "bf16"
    assert trace.tensor("layers.0.k_cache").dtype == "int8"
    assert trace.tensor("layers.0.q_proj.out").dtype == trace.tensor("logits").dtype == "fp16"
    assert prefill_trace(config, 4, activation_dtype="fp16").tensor("layers.0.v_cache").dtype == "fp16"
    with pytest.raises(TraceError, match="weight_dtype: no dtype 'int44'; did you mean 'int4'"):
        prefill_trace(config, 4, weight_dtype="int44")
    with pytest.raises(TraceError, match="kv_dtype: no dtype 'bool'"):
        decode_trace(config, 4, kv_dtype="bool")


configs = st.builds(
    lambda kv_heads, group, half, hidden, **rest: LlmConfig(
        name="any",
        model_type="llama",
        num_key_value_heads=kv_heads,
        num_attention_heads=kv_heads * group,
        head_dim=2 * half,
        hidden_size=hidden,
        **rest,
    ),
    kv_heads=st.integers(1, 4),
    group=st.integers(1, 4),
    half=st.integers(1, 8),
    hidden=st.integers(1, 50),
    intermediate_size=st.integers(1, 50),
    num_hidden_layers=st.integers(1, 3),
    vocab_size=st.integers(1, 50),
    tie_word_embeddings=st.booleans(),
    attention_bias=st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(configs, st.integers(1, 9))
def test_any_model_is_consistent(config, prompt):
    prefill, decode = prefill_trace(config, prompt), decode_trace(config, prompt - 1)
    assert prefill.parameters() == decode.parameters() == parameters(config)
    # A prompt of one token and a decode step with an empty cache are the same work.
    first, step = prefill_trace(config, 1), decode_trace(config, 0)
    assert [first.cost(op) for op in first.operators] == [step.cost(op) for op in step.operators]
    # Prompt tokens one by one attend to as much as all at once.
    kinds = [op for op in prefill.operators if op.kind == "attention"]
    steps = [decode_trace(config, context) for context in range(prompt)]
    assert sum(prefill.flops(op) for op in kinds) == sum(
        step.flops(op) for step in steps for op in step.operators if op.kind == "attention"
    )


@pytest.mark.parametrize("prompt", [0, -1, 1.5, True, "128"])
def test_a_prompt_is_a_positive_integer(prompt):
    with pytest.raises(TraceError, match=f"prompt={prompt!r}: wanted an integer >= 1"):
        prefill_trace(load_config("llama-3.2-1b"), prompt)


def test_context_and_step_are_not_negative():
    with pytest.raises(TraceError, match="context=-1: wanted an integer >= 0"):
        decode_trace(load_config("llama-3.2-1b"), -1)
    with pytest.raises(TraceError, match="step=-1"):
        decode_trace(load_config("llama-3.2-1b"), 1, step=-1)


# ---- configurations


def test_shipped_models():
    assert models() == ("llama-3.2-1b", "llama-3.2-3b")
    one, three = load_config("llama-3.2-1b"), load_config("Llama-3.2-3B")
    assert (one.head_dim, one.rms_norm_eps, one.rope_theta) == (64, 1e-5, 500_000)
    assert (three.name, three.head_dim, three.num_hidden_layers) == ("llama-3.2-3b", 128, 28)


def test_an_unknown_model_suggests_the_nearest():
    with pytest.raises(TraceError, match=r"no model named 'llama-3\.2-1'; did you mean 'llama-3\.2-1b'\?"):
        load_config("llama-3.2-1")


def test_a_configuration_from_a_path(tmp_path):
    path = config_of(tmp_path)
    assert load_config(path) == load_config(tmp_path) == load_config(str(path))
    assert load_config(path).name == tmp_path.name
    config = load_config(config_of(tmp_path, num_key_value_heads=None))
    assert (config.num_key_value_heads, config.head_dim, config.tie_word_embeddings) == (4, 16, False)
    assert load_config(config_of(tmp_path, head_dim=32)).head_dim == 32  # not hidden / heads
    assert load_config(config_of(tmp_path, attention_bias=True)).attention_bias
    (tmp_path / "mine.json").write_text(path.read_text())
    assert load_config(tmp_path / "mine.json").name == "mine"


def test_the_newer_places_of_keys(tmp_path):
    path = config_of(tmp_path, dtype="float16", rope_parameters={"rope_theta": 5e5, "rope_type": "default"})
    assert load_config(path).torch_dtype == "float16"
    assert load_config(path).rope_theta == 5e5


@pytest.mark.parametrize(
    ("changes", "line", "says"),
    [
        ({"model_type": "bert"}, 2, "model_type 'bert' is not supported: wanted llama"),
        ({"model_type": None}, 1, "no 'model_type'"),
        ({"model_type": ["llama"]}, 2, "is not supported"),
        ({"hidden_size": 0}, 3, "hidden_size=0: wanted a positive integer"),
        ({"hidden_size": -64}, 3, "hidden_size=-64"),
        ({"hidden_size": "64"}, 3, 'hidden_size="64": wanted a positive integer'),
        ({"hidden_size": 64.0}, 3, "hidden_size=64.0"),
        ({"hidden_size": True}, 3, "hidden_size=true"),
        ({"hidden_size": None}, 1, "no 'hidden_size'"),
        ({"hidden_size": 65}, 3, "hidden_size=65 is no multiple of num_attention_heads=4, and no head_dim"),
        ({"vocab_size": []}, 8, r"vocab_size=\[\]"),
        ({"num_attention_heads": "4"}, 6, "num_attention_heads"),
        ({"num_attention_heads": None}, 1, "no 'num_attention_heads'"),
        ({"num_key_value_heads": 3}, 7, "num_attention_heads=4 is no multiple of num_key_value_heads=3"),
        ({"head_dim": 15}, 9, "head_dim=15: rotary embeddings turn pairs"),
        ({"tie_word_embeddings": 1}, 9, "tie_word_embeddings=1: wanted true or false"),
        ({"rms_norm_eps": 0}, 9, "rms_norm_eps=0: wanted a positive number"),
        ({"rope_theta": "1e4"}, 9, "rope_theta"),
        ({"rope_parameters": 3}, 9, "rope_parameters=3: wanted an object or null"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, 10, "partial_rotary_factor is not modelled"),
        ({"torch_dtype": "float8"}, 9, 'torch_dtype="float8": wanted one of bfloat16'),
        ({"num_local_experts": 8}, 9, "num_local_experts=8 is not modelled"),
        ({"sliding_window": 4096}, 9, "sliding_window=4096 is not modelled: wanted null or absent"),
        ({"quantization_config": {"bits": 4}}, 9, "quantization_config=.* is not modelled"),
        ({"hidden_act": "gelu"}, 9, 'hidden_act="gelu" is not modelled: wanted "silu"'),
        ({"mlp_bias": True}, 9, "mlp_bias=true"),
        ({"hiden_size": 64}, 9, "unknown key 'hiden_size'; did you mean 'hidden_size'"),
        ({"zzzzzzzz": 64}, 9, "unknown key 'zzzzzzzz': it may change the model"),
    ],
)
def test_a_bad_key_is_named_with_its_line(tmp_path, changes, line, says):
    with pytest.raises(TraceError, match=rf"config\.json:{line}: .*{says}"):
        load_config(config_of(tmp_path, **changes))


def test_keys_of_no_effect_are_accepted(tmp_path):
    text = json.loads(config_of(tmp_path).read_text())
    text |= {"sliding_window": None, "quantization_config": None, "rope_scaling": None, "head_dim": None}
    text |= {"architectures": ["LlamaForCausalLM"], "use_cache": True, "mlp_bias": False}
    (tmp_path / "config.json").write_text(json.dumps(text))
    assert load_config(tmp_path).head_dim == 16


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{\n"model_type": "llama",\n"hidden_size": }', r"config\.json:3: not JSON"),
        ("", r"config\.json:1: not JSON"),
        ("[1]", r"config\.json:1: .*wanted a JSON object, got list"),
        ('{"model_type": "llama",\n"vocab_size": 1,\n"vocab_size": 2}', r"'vocab_size' is given twice"),
    ],
)
def test_malformed_files_are_named(tmp_path, text, says):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(TraceError, match=says):
        load_config(tmp_path)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(TraceError, match=r"none\.json: cannot read the model configuration: No such file"):
        load_config(tmp_path / "none.json")
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(TraceError, match="not UTF-8"):
        load_config(tmp_path)


def test_a_configuration_built_by_hand_is_checked():
    config = load_config("llama-3.2-1b")
    with pytest.raises(TraceError, match=r"model 'llama-3\.2-1b': vocab_size=0"):
        replace(config, vocab_size=0)
    assert LlmConfig(**plain(prefill_trace(config, 1).meta)["model"]) == config


# ---- the traces that come with pimsim


@pytest.mark.parametrize("name", models())
def test_the_stored_traces_are_what_is_made_now(name):
    config = load_config(name)
    stored = ROOT / "traces"
    assert read_trace(stored / f"{name}-prefill-128.jsonl.gz") == prefill_trace(config, 128)
    assert read_trace(stored / f"{name}-decode-128.jsonl.gz") == decode_trace(config, 128)


def test_every_stored_trace_is_checked_and_described():
    files = {each.name for each in (ROOT / "traces").iterdir()} - {"README.md"}
    assert files == {f"{name}-{mode}-128.jsonl.gz" for name in models() for mode in ("prefill", "decode")}
    text = (ROOT / "traces" / "README.md").read_text()
    assert all(each in text for each in files)
