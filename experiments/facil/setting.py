"""What the FACIL experiments share: platforms, models, the two ways to a first token."""

from dataclasses import dataclass

from pimsim.engines import Work, fastest, price, work_of
from pimsim.engines.rates import relayout_s
from pimsim.placement.facil import FacilPages
from pimsim.system import System, load_system
from pimsim.trace.llm import LlmConfig, decode_trace, prefill_trace
from pimsim.trace.op import Trace

PAPER = "FACIL, HPCA 2025"
ABSTRACT = f"{PAPER}, abstract"
SUMMARY = f"{PAPER}, as summarised by others (the full text was not at hand)"

LLAMA3_8B = LlmConfig(
    name="llama3-8b",
    model_type="llama",
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    vocab_size=128256,
)
OPT_6_7B = LlmConfig(
    name="opt-6.7b",
    model_type="opt",
    hidden_size=4096,
    intermediate_size=16384,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=32,
    head_dim=128,
    vocab_size=50272,
    tie_word_embeddings=True,
    hidden_act="relu",
    max_position_embeddings=2048,
)
PHI_1_5 = LlmConfig(
    name="phi-1.5",
    model_type="opt",
    hidden_size=2048,
    intermediate_size=8192,
    num_hidden_layers=24,
    num_attention_heads=32,
    num_key_value_heads=32,
    head_dim=64,
    vocab_size=51200,
    hidden_act="relu",
    max_position_embeddings=2048,
)
"""The matrices of Phi-1.5 in OPT's order of operators: its parallel branches run in turn here."""

CASES = {
    "jetson-orin": LLAMA3_8B,
    "apple-m3-max": LLAMA3_8B,
    "core-ultra-7-155h": OPT_6_7B,
    "iphone-15-pro": PHI_1_5,
}
"""Platform -> model. Llama3-8B on Orin is named by the paper's motivation; the other pairs are a choice:
smaller models on smaller machines."""


@dataclass(frozen=True)
class Times:
    """Seconds. prefill: on the GPU; relayout: of the matrices that it multiplies with; token: one more."""

    copied_bytes: int
    prefill: float
    relayout: float
    token: float

    @property
    def ttft_ratio(self) -> float:
        """Baseline over FACIL: the baseline copies each matrix out of the PIM layout before its product."""
        return (self.prefill + self.relayout) / self.prefill

    def ttlt_ratio(self, tokens: int) -> float:
        rest = (tokens - 1) * self.token
        return (self.prefill + self.relayout + rest) / (self.prefill + rest)


def pages(system: System) -> FacilPages:
    """The huge pages of a system: 2 MiB, chunks as in its PIM layout."""
    return FacilPages.of(system.layout, system.dram.geometry.rows)


def times(name: str, config: LlmConfig, prompt: int, tokens: int) -> Times:
    """Prefill on the GPU (the head, of one row, in PIM), then tokens with their products in PIM."""
    system = load_system(name)
    copied, prefill, relayout = _prefill(system, prefill_trace(config, prompt))
    return Times(copied, prefill, relayout, _token(system, decode_trace(config, prompt + tokens // 2)))


def _prefill(system: System, trace: Trace) -> tuple[int, float, float]:
    seconds = 0.0
    copied = launches = 0
    assert system.gpu is not None
    for op in trace.operators:
        work = work_of(op, trace)
        if op.kind == "matmul" and trace.matmul_shape(op)[0] > 1:
            copied += trace.tensor(op.inputs[1]).bytes
            launches += 1
        seconds += _on(system, work)
    return copied, seconds, relayout_s(system, "gpu", copied) + launches * system.gpu.launch_us * 1e-6


def _token(system: System, trace: Trace) -> float:
    return sum(_on(system, work_of(op, trace)) for op in trace.operators)


def _on(system: System, work: Work) -> float:
    """Products of one row in PIM, everything else on the GPU."""
    in_pim = price(system, "pim", work) if work.kind == "matmul" and work.products[0][0] == 1 else None
    return (in_pim or fastest(system, "gpu", work)).time_ps * 1e-12
