"""Colours of kinds, methods and series, the same in figures and on pages.

They stay apart for readers with any kind of colour vision; methods and kinds keep theirs everywhere.
"""

KIND_COLOURS = {
    "matmul": "#0072B2",
    "conv2d": "#332288",
    "attention": "#009E73",
    "norm": "#CC79A7",
    "softmax": "#882255",
    "elementwise": "#56B4E9",
    "reduce": "#999933",
    "gather": "#F0E442",
    "copy": "#E69F00",
    "gemm": "#0072B2",
    "gemv": "#44AA99",
    "pim_gemv": "#AA4499",
    "threads": "#888888",
    "wait": "#BBBBBB",
    "weights": "#0072B2",
    "padding": "#E69F00",
    "buffers": "#009E73",
}
"""The colour of every kind of operator and of memory use."""

METHOD_COLOURS = {
    "host_only": "#777777",
    "weight_duplication": "#D55E00",
    "facil": "#000000",
    "double_buffering": "#0072B2",
    "online_rearrangement": "#E69F00",
}
METHOD_MARKERS = {
    "host_only": "D",
    "weight_duplication": "v",
    "facil": "x",
    "double_buffering": "o",
    "online_rearrangement": "s",
}
SPARE_COLOURS = ("#D55E00", "#117733", "#AA4499", "#44AA99", "#661100", "#6699CC", "#DDCC77", "#000000")
SPARE_MARKERS = ("^", "P", "*", "<", ">", "h", "d", "p")
