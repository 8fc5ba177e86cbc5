"""What if: PIM-SHERPA's machine with one thing changed that its paper did not change."""

from experiments.what_if import (
    copy_threads,
    dma_engine,
    kv_cache,
    llama_8b,
    lm_head,
    lpddr6,
    weight_types,
)

EXPERIMENTS = {
    "copy-threads": copy_threads,
    "dma-engine": dma_engine,
    "lpddr6": lpddr6,
    "weight-types": weight_types,
    "llama-8b": llama_8b,
    "lm-head": lm_head,
    "kv-cache": kv_cache,
}
