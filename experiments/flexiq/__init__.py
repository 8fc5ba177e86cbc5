"""FlexiQ (arXiv 2510.02822): one INT8 model whose share of 4-bit channels changes at run time."""

from experiments.flexiq import (
    accuracy,
    extraction,
    fluctuating,
    latency,
    mobile_accuracy,
    poisson,
    speedup,
)

EXPERIMENTS = {
    "extraction": extraction,
    "latency": latency,
    "speedup": speedup,
    "poisson": poisson,
    "fluctuating": fluctuating,
    "accuracy": accuracy,
    "mobile-accuracy": mobile_accuracy,
}
