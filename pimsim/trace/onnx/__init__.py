"""ONNX graphs: operators and shapes, without weights. Extra `onnx`.

    imported = read_onnx("model.onnx", dims={"batch": 1})
    imported.trace, imported.skipped

Shapes come from ONNX's own shape inference. Weights inside the file are not looked at, weights outside it
are never opened. What depends on no input of the graph is computed once, when a model is loaded: it is a
weight where an operator reads it. Reshapes, transposes, slices and splits are views and cost nothing.
Asymmetric padding of a convolution is read like pixels. Subgraphs and functions are unknown operators.
"""

from __future__ import annotations

from pimsim.trace.onnx.read import read_onnx

__all__ = ["read_onnx"]
