"""FlexiQ (arXiv 2510.02822): one INT8 model whose share of 4-bit channels changes at run time."""

from experiments.flexiq import extraction, fluctuating, latency, poisson, speedup

EXPERIMENTS = {
    "extraction": extraction,
    "latency": latency,
    "speedup": speedup,
    "poisson": poisson,
    "fluctuating": fluctuating,
}
