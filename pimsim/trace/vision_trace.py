"""Vision networks as traces: the shape tables of `vision.py` as operators over tensors.

    trace = vision_trace("resnet50", batch=8)

Norms of channels are folded into the convolution before them, as in the tables: it has a bias in place of
scale and shift, so a trace holds one value a channel less than the published count of parameters, which
`meta["parameters"]` states. An activation that the table has no layer for (ReLU) is written by the
convolution. Left out: PReLUs, norms before a convolution, tables of relative positions (Swin).
"""

from __future__ import annotations

from pimsim.errors import TraceError
from pimsim.trace.assemble import Assembler, Shape, Use
from pimsim.trace.op import Trace
from pimsim.trace.vision import VisionLayer, VisionModel, vision_model

_OF_VECTOR = {"pool": "reduce", "add": "elementwise", "norm": "norm", "gelu": "elementwise"}


def vision_trace(model: VisionModel | str, *, batch: int = 1, dtype: str = "fp32") -> Trace:
    """The operators of `batch` images through a network of the tables. dtype: type of all tensors."""
    network = vision_model(model) if isinstance(model, str) else model
    if batch < 1:
        raise TraceError(f"{network.name}: batch={batch}: wanted at least 1")
    return _Builder(network, batch, dtype).trace()


class _Builder:
    """Follows the table: `running` is the last result, `streams` the newest value of each residual stream."""

    def __init__(self, network: VisionModel, batch: int, dtype: str) -> None:
        self.network, self.batch, self.dtype = network, batch, dtype
        self.assembler = Assembler()
        side = network.input_size
        self.running = self.assembler.tensor("input", (batch, 3, side, side), dtype, "input")
        self.streams: dict[str, str] = {}
        self.pending: dict[str, str] = {}
        self.shortcut = self.running  # what the last block read
        self.after_norm = False
        self.written = ""  # the stream that was written last
        self.scores: VisionLayer | None = None

    def trace(self) -> Trace:
        network = self.network
        *_, last = network.layers
        makers = {
            "conv": self.conv,
            "depthwise": self.conv,
            "linear": self.linear,
            "attention": self.attention,
        }
        for layer in network.layers:
            makers.get(layer.kind, self.vector)(layer, "output" if layer is last else "activation")
        name = network.name if self.batch == 1 else f"{network.name}-{self.batch}"
        meta = {"from": "vision", "batch": self.batch, "parameters": network.parameters}
        return self.assembler.trace(name, meta)

    def source(self, layer: VisionLayer) -> str:
        """What a convolution or product reads."""
        if layer.stream and not self.after_norm:
            self.shortcut = self.streams.get(layer.stream, self.running)
            return self.shortcut
        return self.running

    def wrote(self, layer: VisionLayer, out: str) -> None:
        self.running, self.after_norm = out, False
        if not layer.writes:
            return
        self.written = layer.writes
        (self.pending if layer.writes in self.streams else self.streams)[layer.writes] = out

    def result(self, layer: VisionLayer, shape: Shape, role: str = "activation") -> str:
        return self.assembler.tensor(f"{layer.name}.out", shape, self.dtype, role)

    def weights(self, layer: VisionLayer, shape: Shape) -> list[Use]:
        weight = self.assembler.tensor(f"{layer.name}.weight", shape, self.dtype, "weight")
        found = [Use(tensor=weight, shape=shape)]
        held = 1
        for size in shape:
            held *= size
        if layer.parameters > held:  # its own bias, or that of the norm folded into it
            bias = self.assembler.tensor(f"{layer.name}.bias", shape[:1], self.dtype, "weight")
            found.append(Use(tensor=bias, shape=shape[:1]))
        return found

    def conv(self, layer: VisionLayer, role: str) -> None:
        b = self.batch
        x = Use(tensor=self.source(layer), shape=(b, layer.in_ch, layer.in_h, layer.in_w))
        kernel = (layer.out_ch, layer.in_ch // layer.groups, layer.kernel, layer.kernel)
        shape = (b, layer.out_ch, layer.out_h, layer.out_w)
        out = self.result(layer, shape, role)
        self.assembler.step(
            "conv2d",
            layer.name,
            [x, *self.weights(layer, kernel)],
            [Use(tensor=out, shape=shape)],
            {"stride": layer.stride, "padding": layer.padding, "dilation": 1, "groups": layer.groups},
        )
        self.wrote(layer, out)
        if layer.name == "patch_embed.proj" and self.network.other_parameters and not layer.padding:
            self.embed(layer, out)

    def embed(self, layer: VisionLayer, patches: str) -> None:
        """The class token in front of the patches, and the positions added (ViT, not Swin)."""
        width, count = layer.out_ch, layer.out_h * layer.out_w
        if self.network.other_parameters != width * (count + 2):
            return
        token = self.assembler.tensor("cls_token", (1, 1, width), self.dtype, "weight")
        places = self.assembler.tensor("pos_embed", (1, count + 1, width), self.dtype, "weight")
        shape = (self.batch * (count + 1), width)
        joined = self.assembler.tensor("tokens", shape, self.dtype, "activation")
        self.assembler.step("copy", "cls_token", [token, patches], [joined, joined])
        out = self.assembler.tensor("pos_embed.out", shape, self.dtype, "activation")
        self.assembler.step("elementwise", "pos_embed", [joined, places], [out], {"function": "add"})
        self.running = self.streams[layer.writes] = out

    def linear(self, layer: VisionLayer, role: str) -> None:
        source, count = self.source(layer), self.batch * layer.in_h
        held = self.assembler.tensors[source].elements
        part = "" if held == count * layer.in_ch else f"first {layer.in_h} of each"
        x = Use(tensor=source, shape=(count, layer.in_ch), part=part)
        shape = (count, layer.out_ch)
        out = self.result(layer, shape, role)
        inputs = [x, *self.weights(layer, (layer.out_ch, layer.in_ch))]
        self.assembler.step("matmul", layer.name, inputs, [Use(tensor=out, shape=shape)])
        self.wrote(layer, out)

    def attention(self, layer: VisionLayer, role: str) -> None:
        """Scores, softmax and mix of one block are three layers of the table, and one operator here."""
        if self.scores is None:
            self.scores = layer
            return
        dim, tokens = self.scores.in_ch, self.scores.in_h
        qkv = self.running
        row = self.assembler.tensors[qkv].shape[-1] // 3
        heads = row // dim
        windows = self.batch * layer.batch // heads
        name = layer.name.rsplit(".", 1)[0]
        shape = (windows * tokens, row)
        out = self.assembler.tensor(f"{name}.out", shape, self.dtype, role)
        attrs = {"heads": heads, "kv_heads": heads, "head_dim": dim, "context": tokens, "causal": False}
        for i in range(windows):
            inputs = [
                Use(tensor=qkv, shape=(tokens, row), part=f"{what}.{i}" if windows > 1 else what)
                for what in ("q", "k", "v")
            ]
            part = "" if windows == 1 else str(i)
            self.assembler.step(
                "attention",
                name if windows == 1 else f"{name}.{i}",
                inputs,
                [Use(tensor=out, shape=(tokens, row), part=part)],
                attrs,
            )
        self.running, self.scores = out, None

    def vector(self, layer: VisionLayer, role: str) -> None:
        if layer.kind == "softmax":  # inside the attention
            return
        shape: Shape = (self.batch * layer.out_h * layer.out_w, layer.out_ch)
        attrs: dict[str, str] = {}
        source = self.running
        inputs: list[Use] = [Use(tensor=source)]
        if layer.kind == "add":
            stream = self.written
            other = self.pending.pop(stream, self.shortcut)  # a shortcut without weights joins another stream
            inputs = [Use(tensor=other), Use(tensor=self.streams[stream])]
            attrs = {"function": "add"}
        elif layer.kind == "norm":
            inputs = [Use(tensor=self.streams.get(self.written, source), shape=shape)]
            for what in ("weight", "bias"):
                own = self.assembler.tensor(f"{layer.name}.{what}", (layer.in_ch,), self.dtype, "weight")
                inputs.append(Use(tensor=own, shape=(layer.in_ch,)))
        elif layer.kind == "gelu":
            attrs = {"function": "gelu"}
        if layer.kind == "pool":
            shape = (self.batch, layer.out_ch, layer.out_h, layer.out_w)
        out = self.result(layer, shape, role)
        wanted = shape if layer.kind == "norm" else None
        self.assembler.step(
            _OF_VECTOR[layer.kind], layer.name, inputs, [Use(tensor=out, shape=wanted)], attrs
        )
        self.running, self.after_norm = out, layer.kind == "norm"
        if layer.kind in ("add", "pool") and self.written in self.streams:
            self.streams[self.written] = out
        if layer.name == "patch_embed.norm":
            self.streams[self.written], self.after_norm = out, False
