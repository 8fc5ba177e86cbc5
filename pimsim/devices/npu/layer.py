"""What an NPU computes: one matrix product or convolution, with its shapes and widths.

A layer is `groups` independent products of M = images x output pixels rows, N = output channels and
K = kernel positions x input channels. Depthwise and grouped convolutions have many groups, a batched matrix
product has one group a product. Nothing is unfolded in memory: tiles are pieces of the tensors themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pimsim.errors import SpecError
from pimsim.units import ceil_div

WIDTHS = (4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One product or convolution.

    in_ch, out_ch: channels of one group. images: pictures that share the weights. low_ch: input channels of
    each group that are computed in 4 bits (the first ones; the others in `bits`). stored_bits: width of
    inputs and weights in memory; out_bits: of results. kind labels tables.
    """

    name: str
    kind: str
    in_h: int
    in_w: int
    in_ch: int
    out_h: int
    out_w: int
    out_ch: int
    kernel_h: int = 1
    kernel_w: int = 1
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    images: int = 1
    bits: int = 8
    low_ch: int = 0
    stored_bits: int = 8
    out_bits: int = 8

    def __post_init__(self) -> None:
        for field in (
            "in_h",
            "in_w",
            "in_ch",
            "out_h",
            "out_w",
            "out_ch",
            "kernel_h",
            "kernel_w",
            "stride",
            "dilation",
            "groups",
            "images",
        ):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise SpecError(f"layer {self.name}: {field}={value!r}; wanted an integer of at least 1")
        for field in ("bits", "stored_bits"):
            if getattr(self, field) not in WIDTHS:
                raise SpecError(f"layer {self.name}: {field}={getattr(self, field)}; wanted one of {WIDTHS}")
        if self.out_bits not in (*WIDTHS, 32):
            raise SpecError(f"layer {self.name}: out_bits={self.out_bits}; wanted 4, 8, 16 or 32")
        if not 0 <= self.low_ch <= self.in_ch:
            raise SpecError(f"layer {self.name}: low_ch={self.low_ch}; wanted 0 to in_ch={self.in_ch}")
        if self.low_ch and self.bits != 8:
            raise SpecError(
                f"layer {self.name}: low_ch={self.low_ch} of a layer of {self.bits} bits; wanted 8"
            )

    @property
    def m(self) -> int:
        return self.images * self.out_h * self.out_w

    @property
    def n(self) -> int:
        return self.out_ch

    @property
    def k(self) -> int:
        return self.kernel_h * self.kernel_w * self.in_ch

    @property
    def macs(self) -> int:
        """Multiply-adds, padding rows and columns of zeros included."""
        return self.groups * self.m * self.n * self.k

    @property
    def weights(self) -> int:
        """Elements of the second operand."""
        return self.groups * self.n * self.k

    @property
    def input_bytes(self) -> int:
        return ceil_div(self.groups * self.images * self.in_h * self.in_w * self.in_ch * self.stored_bits, 8)

    @property
    def weight_bytes(self) -> int:
        return ceil_div(self.weights * self.stored_bits, 8)

    @property
    def output_bytes(self) -> int:
        return ceil_div(self.groups * self.m * self.n * self.out_bits, 8)

    def with_low(self, channels: int) -> Layer:
        """The same layer with so many input channels in 4 bits."""
        return replace(self, low_ch=channels)


def gemm(
    m: int,
    n: int,
    k: int,
    *,
    name: str = "gemm",
    batch: int = 1,
    kind: str = "linear",
    bits: int = 8,
    stored_bits: int | None = None,
    out_bits: int | None = None,
) -> Layer:
    """C (M, N) = A (M, K) x B (K, N), `batch` times with operands of their own."""
    stored = stored_bits or bits
    return Layer(
        name=name,
        kind=kind,
        in_h=m,
        in_w=1,
        in_ch=k,
        out_h=m,
        out_w=1,
        out_ch=n,
        groups=batch,
        bits=bits,
        stored_bits=stored,
        out_bits=out_bits or stored,
    )


def conv(
    in_h: int,
    in_w: int,
    in_ch: int,
    out_ch: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int = 1,
    groups: int = 1,
    images: int = 1,
    name: str = "conv",
    bits: int = 8,
    stored_bits: int | None = None,
) -> Layer:
    """A convolution over (images, in_h, in_w, in_ch); channels are those of all groups together."""
    kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    ph, pw = padding if isinstance(padding, tuple) else (padding, padding)
    if in_ch % groups or out_ch % groups:
        raise SpecError(f"layer {name}: channels {in_ch} and {out_ch} are no multiples of groups={groups}")
    out_h = (in_h + 2 * ph - dilation * (kh - 1) - 1) // stride + 1
    out_w = (in_w + 2 * pw - dilation * (kw - 1) - 1) // stride + 1
    if out_h < 1 or out_w < 1:
        raise SpecError(
            f"layer {name}: a kernel of {kh}x{kw} does not fit into {in_h}x{in_w} with padding {ph}, {pw}"
        )
    kind = "depthwise" if groups == in_ch and groups > 1 else "conv"
    return Layer(
        name=name,
        kind=kind,
        in_h=in_h,
        in_w=in_w,
        in_ch=in_ch // groups,
        out_h=out_h,
        out_w=out_w,
        out_ch=out_ch // groups,
        kernel_h=kh,
        kernel_w=kw,
        stride=stride,
        dilation=dilation,
        groups=groups,
        images=images,
        bits=bits,
        stored_bits=stored_bits or bits,
        out_bits=stored_bits or bits,
    )
