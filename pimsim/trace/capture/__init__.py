"""Traces from PyTorch modules: inference or a whole training step, without weights or data. Extra `torch`.

    captured = capture(module, inputs)
    captured.trace, captured.peak_bytes

    captured = capture_step(module, inputs, loss=torch.nn.functional.cross_entropy, targets=(labels,))
    captured.memory(), captured.lifetimes

The module runs once on fake tensors: parameters on the meta device are as good as real ones, which are never
read. `inputs` give shapes and types only. What depends on shapes and constants alone (tables of sines,
masks) is computed once when a model is loaded and has no operators. With `fuse` (inference only) calls that
an engine runs as one are one operator: see `fuse.py` for the patterns.
"""

from __future__ import annotations

from pimsim.trace.capture.make import Captured, Lifetime, capture, capture_step

__all__ = ["Captured", "Lifetime", "capture", "capture_step"]
