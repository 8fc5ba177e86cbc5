"""What a run leaves out, in sentences that reports print; docs/limits.md explains them."""

RUN_LEAVES_OUT = (
    "Address translation: no TLB misses, no page walks.",
    "Other programs: nothing else uses cores, caches or memory.",
    "Heat and frequency changes: clocks stay as the parts state them.",
    "The screen, radio, camera and other agents that share a phone's memory.",
    "The contents of caches from one operator to the next, except where a method says so.",
    "Numbers: operators compute nothing in a run; programs of PIM units run on data in the tests.",
    "Batches larger than one; time to load the model from storage; tokenising and sampling.",
)
"""For results of `simulate`."""

SAMPLED = (
    "Sampled fidelity: memory rates are measured in steady state and reused; starts and ends of streams, and "
    "which bank is busy when, are not followed (fidelity step follows them)."
)
"""Added for sampled runs."""
