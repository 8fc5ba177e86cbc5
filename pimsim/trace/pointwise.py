"""Which function each pointwise operator of PyTorch (`aten::`) costs as, in captured and recorded runs."""

POINTWISE = {
    "add": "add",
    "sub": "sub",
    "rsub": "sub",
    "mul": "mul",
    "div": "div",
    "neg": "neg",
    "relu": "relu",
    "exp": "exp",
    "sqrt": "sqrt",
    "rsqrt": "sqrt",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "silu": "silu",
    "gelu": "gelu",
    "maximum": "max",
    "copy": "cast",
    "_to_copy": "cast",
    "to": "cast",
    "clone": "cast",
}
