"""What if keys and values lay in PIM, too, and attention ran there?"""

from collections.abc import Callable

import pandas as pd

from experiments.what_if.setting import BEYOND, LEAVES_OUT, MODELS, machine
from pimsim.checks import Check
from pimsim.devices.cpu import vector_ps
from pimsim.devices.pim.attention import AttentionShape, compile_attention
from pimsim.devices.pim.cost import cost_of
from pimsim.methods import METHODS
from pimsim.report.curves import line_chart
from pimsim.report.report import Report
from pimsim.run import run_plan
from pimsim.system import System
from pimsim.trace import load_config
from pimsim.trace.llm import LlmConfig, decode_trace

COST_S = 30.0
CONTEXTS = (128, 512, 2048, 8192, 32768)
DTYPE = "bf16"


def run(progress: Callable[[float, str], None]) -> Report:
    """A token's time against the tokens in the cache, with attention on the cores and in the units."""
    system = machine()
    rows = []
    for i, model in enumerate(MODELS):
        config = load_config(model)
        for j, context in enumerate(CONTEXTS):
            progress((i + j / len(CONTEXTS)) / len(MODELS), f"{model}, {context} tokens")
            done = run_plan(system, METHODS["facil"].plan(decode_trace(config, context), system))
            steps = done.spans[done.spans["task"] == "attention"].groupby("layer")
            host = float((steps["end_ps"].max() - steps["start_ps"].min()).sum()) * 1e-9
            total = done.duration_ps * 1e-9
            pim = attention_ms(config, context, system)
            rows.append(
                {
                    "model": model,
                    "context_tokens": context,
                    "cache_mb": 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
                    * 2 * context / 1e6,
                    "attention_host_ms": host,
                    "attention_pim_ms": pim,
                    "token_host_ms": total,
                    "token_pim_ms": total - host + pim,
                    "faster_times": total / (total - host + pim),
                }
            )  # fmt: skip
    frame = pd.DataFrame(rows)
    at = frame.set_index(["model", "context_tokens"])["faster_times"]
    small, large = MODELS
    checks = [
        Check(
            quantity="attention in PIM pays where three queries share a head of 128 values",
            setting=f"{large}, {CONTEXTS[-1]} tokens",
            ours=bool(at[large, CONTEXTS[-1]] > 1),
            source=BEYOND,
        ),
        Check(
            quantity="its gain grows with the context",
            setting=large,
            ours=bool((at[large].diff().dropna() > 0).all()),
            source="invariant: its fixed costs are shared by more work",
        ),
        Check(
            quantity="it gains less where four queries share a head of 64: units read the cache for each",
            setting=f"{small} against {large}, every context",
            ours=bool((at[small] < at[large]).all()),
            source=BEYOND,
        ),
    ]
    lines = frame.melt(
        id_vars=["model", "context_tokens"], value_vars=["token_host_ms", "token_pim_ms"], value_name="ms"
    )
    lines["who"] = (
        lines["model"].str[-2:]
        + ", attention "
        + lines["variable"].str.split("_").str[1].replace({"host": "on the host", "pim": "in PIM"})
    )
    lines["context"] = lines["context_tokens"].map("{:,}".format)
    return Report(
        name="kv-cache",
        question="What if keys and values lay in PIM, too?",
        tables={"contexts": frame},
        checks=checks,
        figures={
            "kv-cache": lambda: line_chart(
                lines, x="context", y="ms", series="who", title="Time per token",
                x_label="tokens in the cache", y_label="time per token (ms)",
            )
        },
        leaves_out=(
            BEYOND,
            *LEAVES_OUT,
            "writing new keys and values where PIM wants them; prefill, which needs them host-friendly",
        ),
    )  # fmt: skip


def attention_ms(config: LlmConfig, context: int, system: System) -> float:
    """All layers: scores, softmax on the big core, context; each product is handed over to all cores."""
    assert system.pim is not None
    shape = AttentionShape(
        heads=config.num_attention_heads, kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim, context=context,
    )  # fmt: skip
    halves = compile_attention(system.pim, system.dram, shape, DTYPE, channels=system.channels)
    products = sum(
        cost_of(system.dram, system.pim, system.controller, half.kernel, system.host_drive).time_ns
        for half in halves
    )
    scores = config.num_attention_heads * context
    softmax = vector_ps(system.cpu.cores[0], scores * (4 + 2), 5 * scores, 1) / 1000  # FP32 in, BF16 out
    handed = 2 * (system.cpu.dispatch_us + system.cpu.wake_us) * 1e3
    return config.num_hidden_layers * (products + softmax + handed) * 1e-6
