"""FACIL (HPCA 2025): an address map per huge page, so that SoC and PIM read one copy without a re-layout."""

from experiments.facil import maps, ttft

EXPERIMENTS = {"maps": maps, "ttft": ttft}
