"""Model families beside Llama: published totals, and the traps that caught other tools."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.errors import TraceError
from pimsim.trace import LlmConfig, decode_trace, load_config, parameters, plain, prefill_trace
from pimsim.trace.llm import expert_rows, quantised
from pimsim.trace.llm.families import FAMILIES
from pimsim.units import format_bytes, parse_bytes

DATA = Path(__file__).parents[1] / "data" / "llm"
# The totals of the model pages, from the table beside the configurations.
PUBLIC = {
    name: int(total.replace(",", ""))
    for name, total in re.findall(
        r"^\| (\S+) \| \S+/\S+ \| ([\d,]+) \|$", (DATA / "README.md").read_text(), re.M
    )
}


def config(name, **changes):
    return replace(load_config(DATA / f"{name}.json"), **changes)


def small(name, **changes):
    """The model with few layers and words."""
    return config(name, num_hidden_layers=2, vocab_size=1000, **changes)


def ops(trace, kind=None):
    return {op.name: op for op in trace.operators if kind in (None, op.kind)}


def test_every_configuration_has_a_published_total():
    assert set(PUBLIC) == {path.stem for path in DATA.glob("*.json")}
    assert {config(name).model_type for name in PUBLIC} == set(FAMILIES)


@pytest.mark.parametrize("name", PUBLIC)
def test_parameters_are_the_published_ones(name):
    assert parameters(config(name)) == PUBLIC[name]


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "qwen3-30b-a3b"])
def test_traces_hold_the_published_parameters(name):
    assert decode_trace(config(name), 7).parameters() == PUBLIC[name]


def test_a_trace_of_128_experts_holds_their_parameters():
    made = config("qwen3-30b-a3b", num_hidden_layers=2)
    # By hand, of the published total: 46 layers less.
    layer = 2048 * 4096 * 2 + 2 * 2048 * 512 + 2 * 128 + 128 * 2048 + 128 * 3 * 2048 * 768 + 2 * 2048
    assert prefill_trace(made, 3).parameters() == PUBLIC["qwen3-30b-a3b"] - 46 * layer


@pytest.mark.parametrize(
    ("name", "active"), [("qwen3-30b-a3b", 3_353_032_704), ("mixtral-8x7b", 12_879_925_248)]
)
def test_parameters_that_one_token_meets(name, active):
    assert parameters(config(name), active=True) == active  # the README beside the configurations


# ---- traps


def test_head_dim_is_a_field_of_its_own():
    # hidden / heads would be 64, 288 and 288.
    for name, head_dim, q_size in (
        ("qwen3-0.6b", 128, 2048),
        ("gemma-2-2b", 256, 2048),
        ("gemma-3-1b", 256, 1024),
    ):
        made = config(name)
        assert (made.head_dim, made.q_size) == (head_dim, q_size)
        assert made.head_dim != made.hidden_size // made.num_attention_heads
        shape = decode_trace(made, 1).tensor("layers.0.q_proj.weight").shape
        assert shape == (q_size, made.hidden_size)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_head_of_a_prefill_runs_for_the_last_token_only(name):
    made = small(name)
    prefill = prefill_trace(made, 9)
    assert prefill.matmul_shape(ops(prefill)["lm_head"]) == (1, 1000, made.embedding_size)
    assert prefill.tensor("logits").shape == (1, 1000)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_embedding_is_a_gather(name):
    made = small(name)
    first = prefill_trace(made, 9).operators[0]
    assert (first.kind, first.name) == ("gather", "embed_tokens")
    cost = prefill_trace(made, 9).cost(first)
    # nine rows of 2 bytes an element and nine int32 indices, no arithmetic
    assert (cost.flops, cost.bytes_read) == (0, 9 * made.embedding_size * 2 + 9 * 4)


def test_the_cache_has_a_type_of_its_own():
    made = small("qwen3-0.6b")
    trace = decode_trace(made, 99, **quantised("w4a16kv8"))
    assert trace.tensor("layers.0.q_proj.weight").dtype == "int4"
    assert trace.tensor("layers.0.q_proj.out").dtype == "bf16"
    kv = sum(each.bytes for each in trace.tensors if each.role == "kv")
    assert kv == 2 * 2 * 100 * 8 * 128  # K and V, 2 layers, 100 tokens, 8 heads of 128, one byte
    wide = decode_trace(made, 99, **quantised("w4a16"))
    assert sum(each.bytes for each in wide.tensors if each.role == "kv") == 2 * kv


def test_names_of_types():
    assert quantised("W8A8") == {"weight_dtype": "int8", "activation_dtype": "int8", "kv_dtype": "int8"}
    assert quantised("w4a16kv4")["kv_dtype"] == "int4"
    for name in ("w4", "w3a16", "w4a4", "w4a16kv", "", "w4a16kv8 "):
        with pytest.raises(TraceError, match="no types named .*: wanted such as w4a16"):
            quantised(name)


def test_gigabytes_are_decimal_and_gibibytes_binary():
    assert (parse_bytes("1 GB"), parse_bytes("1 GiB")) == (10**9, 2**30)
    # 1 235 814 400 parameters of 2 bytes: 2.47 GB, but 2.30 GiB
    size = 2 * parameters(load_config("llama-3.2-1b"))
    assert format_bytes(size, decimal=True).startswith("2.47")
    assert format_bytes(size).startswith("2.30")


# ---- attention


def test_grouped_and_single_keys():
    trace = decode_trace(small("gemma-3-1b"), 4)
    op = ops(trace)["layers.0.attention"]
    assert (op.attrs["heads"], op.attrs["kv_heads"]) == (4, 1)
    assert trace.tensor("layers.0.k_cache").shape == (5, 256)
    assert trace.tensor("layers.0.k_proj.weight").shape == (256, 1152)


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("mistral-7b-v0.1", [4096] * 7),
        ("gemma-2-2b", [4096, 0, 4096, 0, 4096, 0, 4096]),
        ("gemma-3-1b", [512, 512, 512, 512, 512, 0, 512]),
        ("qwen2.5-7b", [0] * 7),  # a window is given, but switched off
        ("mixtral-8x7b", [0] * 7),
    ],
)
def test_windows_of_the_layers(name, windows):
    assert [config(name).window(layer) for layer in range(7)] == windows


def test_a_window_bounds_cache_and_attention_of_a_step():
    made = replace(small("mistral-7b-v0.1"), sliding_window=8)
    trace = decode_trace(made, 20)
    assert trace.tensor("layers.0.k_cache").shape == (8, 1024)
    assert trace.flops(ops(trace)["layers.0.attention"]) == 4 * 32 * 128 * 8
    assert ops(trace)["layers.0.kv_append"].attrs["row"] == 20 % 8


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.integers(1, 24))
def test_a_windowed_prompt_counts_the_pairs_in_sight(prompt, window):
    made = replace(small("mistral-7b-v0.1"), sliding_window=window)
    trace = prefill_trace(made, prompt)
    pairs = sum(query - window < key <= query for query in range(prompt) for key in range(prompt))
    assert trace.flops(ops(trace)["layers.1.attention"]) == 4 * 32 * 128 * pairs
    assert trace.tensor("layers.1.v_cache").shape[0] == min(prompt, window)
    steps = [decode_trace(made, context) for context in range(prompt)]
    assert sum(step.flops(ops(step)["layers.1.attention"]) for step in steps) == 4 * 32 * 128 * pairs


def test_partial_rotary():
    made = small("phi-4-mini")
    assert (made.head_dim, made.rotary_dim) == (128, 96)  # 0.75 of 128
    trace = decode_trace(made, 3)
    assert trace.flops(ops(trace)["layers.0.rope"]) == 3 * (24 + 8) * 96
    whole = decode_trace(replace(made, partial_rotary_factor=1.0), 3)
    assert whole.flops(ops(whole)["layers.0.rope"]) == 3 * (24 + 8) * 128


def test_heads_are_normed_one_by_one():
    trace = decode_trace(small("qwen3-0.6b"), 3)
    assert trace.tensor("layers.0.q_norm.weight").shape == (128,)
    assert ops(trace)["layers.0.q_norm"].attrs["groups"] == 16
    assert ops(trace)["layers.0.k_norm"].attrs["groups"] == 8


# ---- layers


def test_biases():
    def biases(name):
        return {
            op.name.split(".")[-1] for op in ops(decode_trace(small(name), 1)).values() if len(op.inputs) == 3
        }

    assert biases("qwen2.5-0.5b") == {"q_proj", "k_proj", "v_proj", "attention"}
    assert biases("qwen3-0.6b") == {"attention"}
    every = {"q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2", "attention", "norm"}
    assert biases("opt-125m") == every | {"input_layernorm", "post_attention_layernorm"}


def test_layers_of_gemma():
    names = [op.name.removeprefix("layers.0.") for op in decode_trace(small("gemma-2-2b"), 1).operators]
    norms = [name for name in names if name.endswith("layernorm")][:4]
    assert norms == [
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ]
    assert names[:2] == ["embed_tokens", "embed_scale"]
    assert names[-2:] == ["lm_head", "softcap"]
    assert "gelu_mul" in names


def test_layers_of_opt():
    names = [op.name for op in prefill_trace(small("opt-350m"), 4).operators]
    assert names[:4] == ["embed_tokens", "project_in", "embed_positions", "position_add"]
    assert names[-3:] == ["last_token", "project_out", "lm_head"]
    assert not any("rope" in name for name in names)
    assert names.index("layers.0.attention_add") + 1 == names.index("layers.0.input_layernorm")
    with pytest.raises(TraceError, match="2049 tokens, but the model has learned 2048 positions"):
        decode_trace(small("opt-350m"), 2048)


# ---- experts


@given(st.integers(0, 50), st.integers(1, 30), st.integers(1, 12), st.data())
def test_every_token_meets_its_experts_once(first, tokens, experts, data):
    chosen = data.draw(st.integers(1, experts))
    rows = [0] * experts
    for position in range(first, first + tokens):
        for slot in range(chosen):
            rows[(position * chosen + slot) % experts] += 1
    assert list(expert_rows(first, tokens, experts, chosen)) == rows
    assert max(rows) - min(rows) <= 1


def test_experts_of_one_token():
    trace = decode_trace(small("mixtral-8x7b"), 3)
    used = [name for name in ops(trace, "matmul") if name.startswith("layers.0.expert")]
    assert used == [f"layers.0.expert{e}_{what}_proj" for e in (6, 7) for what in ("gate", "up", "down")]
    # All eight lie in memory, by hand: 3 matrices of 4096 x 14336.
    weights = [each for each in trace.weights() if each.name.startswith("layers.0.expert")]
    assert sum(each.elements for each in weights) == 8 * 3 * 4096 * 14336
    # Two experts do the work of a dense MLP twice as wide.
    assert sum(trace.flops(ops(trace)[name]) for name in used) == 2 * 2 * 3 * 4096 * 14336


def test_experts_of_a_prompt():
    trace = prefill_trace(small("mixtral-8x7b"), 10)
    rows = [trace.matmul_shape(op)[0] for name, op in ops(trace, "matmul").items() if "0.expert" in name]
    assert sum(rows) == 3 * 2 * 10
    assert trace.tensor("layers.0.expert_slots").shape == (20, 4096)
    assert trace.matmul_shape(ops(trace)["layers.0.router"]) == (10, 8, 4096)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_tensor_is_computed_before_it_is_read(name):
    made = small(name)
    for trace in (prefill_trace(made, 5), decode_trace(made, 5)):
        known = {each.name for each in trace.tensors if each.role in ("weight", "input")}
        for op in trace.operators:
            assert known.issuperset(op.inputs), op.name
            known.update(op.outputs)
        assert known == {each.name for each in trace.tensors}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_trace_says_which_model_it_is_of(name):
    made = small(name)
    assert LlmConfig(**plain(decode_trace(made, 1).meta)["model"]) == made


# ---- configurations


def changed(tmp_path, name, **changes):
    """The path of a configuration with other values; ... removes a key."""
    values = json.loads((DATA / f"{name}.json").read_text()) | changes
    path = tmp_path / "config.json"
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}, indent=1))
    return path


def test_absent_and_null_keys_mean_what_transformers_makes_of_them(tmp_path):
    assert load_config(changed(tmp_path, "mistral-7b-v0.1", sliding_window=...)).sliding_window == 4096
    assert load_config(changed(tmp_path, "mistral-7b-v0.1", sliding_window=None)).sliding_window == 0
    assert load_config(changed(tmp_path, "qwen3-0.6b", head_dim=None)).head_dim == 64
    assert load_config(changed(tmp_path, "qwen3-0.6b", head_dim=...)).head_dim == 128
    assert load_config(changed(tmp_path, "gemma-3-1b", sliding_window_pattern=...)).window(5) == 0
    assert config("gemma-2-2b").tie_word_embeddings


def test_a_list_of_layer_types(tmp_path):
    kinds = ["full_attention" if layer % 6 == 5 else "sliding_attention" for layer in range(26)]
    path = changed(tmp_path, "gemma-3-1b", layer_types=kinds, sliding_window_pattern=...)
    assert [load_config(path).window(layer) for layer in range(7)] == [512] * 5 + [0, 512]
    path = changed(tmp_path, "gemma-3-1b", layer_types=["full_attention"] * 26)
    assert load_config(path).sliding_window == 0


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("qwen2.5-0.5b", {"use_sliding_window": True}, "use_sliding_window=true is not modelled"),
        ("qwen3-30b-a3b", {"mlp_only_layers": [0]}, r"mlp_only_layers=\[0\] is not modelled"),
        ("qwen3-30b-a3b", {"decoder_sparse_step": 2}, "decoder_sparse_step=2 is not modelled"),
        ("qwen3-30b-a3b", {"num_experts_per_tok": 129}, "num_experts_per_tok=129 of num_experts=128"),
        ("mixtral-8x7b", {"num_experts_per_tok": ...}, "num_experts_per_tok=0 of num_experts=8"),
        ("mixtral-8x7b", {"num_local_experts": -8}, "num_experts=-8: wanted an integer >= 0"),
        ("gemma-2-2b", {"hidden_activation": "relu"}, 'hidden_act="relu" is not modelled'),
        ("gemma-3-1b", {"layer_types": ["full_attention"]}, "layer_types: wanted a list with one name"),
        ("gemma-3-1b", {"layer_types": ["linear"] * 26}, "layer_types: wanted full_attention or"),
        (
            "gemma-3-1b",
            {"layer_types": ["full_attention"] + ["sliding_attention"] * 25},
            "layer_types: modelled where every n-th layer",
        ),
        ("phi-4-mini", {"partial_rotary_factor": 1.5}, "partial_rotary_factor=1.5 of head_dim=128"),
        ("phi-4-mini", {"partial_rotary_factor": 0.001}, "partial_rotary_factor=0.001"),
        ("phi-4-mini", {"lm_head_bias": True}, "lm_head_bias=true is not modelled"),
        ("opt-125m", {"enable_bias": False}, "enable_bias=false is not modelled"),
        ("opt-125m", {"ffn_dim": 0}, "intermediate_size=0: wanted a positive integer"),
        ("opt-125m", {"do_layer_norm_before": 1}, "do_layer_norm_before=1: wanted true or false"),
    ],
)
def test_what_is_not_modelled_is_refused(tmp_path, name, changes, says):
    with pytest.raises(TraceError, match=rf"config\.json:\d+: .*{says}"):
        load_config(changed(tmp_path, name, **changes))


def test_a_renamed_key_is_named_with_its_line(tmp_path):
    path = changed(tmp_path, "opt-125m", ffn_dim=0)
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "ffn_dim" in text)
    with pytest.raises(TraceError, match=rf"config\.json:{line}: "):
        load_config(path)
