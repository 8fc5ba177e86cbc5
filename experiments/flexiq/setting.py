"""What the FlexiQ experiments share: models, array, ratios, sources."""

from pimsim.devices import NpuSpec, part
from pimsim.quant.plan import RATIOS

MODELS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "mobilenet_v2",
    "vit_small",
    "vit_base",
    "swin_small",
    "swin_base",
    "cifar_resnet20",
)
"""DeiT-S and -B have the shapes of ViT-S and -B; the paper's eleventh model is not named, ResNet-20 is a
guess."""
SHARES = RATIOS
GROUP = 32
INTERFACE_BYTES_PER_CK = 32.0
"""256 bits a clock: hsharma35/dnnweaver2 dnnweaver2-tutorial.ipynb."""

PAPER = "FlexiQ, arXiv 2510.02822"
READ = f"{PAPER}, as read by others (only the abstract was at hand)"
ABSTRACT = f"{PAPER}, abstract"
DERIVED = f"derived from figures of {PAPER}"
NEST = "loop nest of hsharma35/dnnweaver2 and bitfusion, counted by another program"

LEAVES_OUT = (
    "the paper's array size, clock, buffers, 4-bit rate and group size are not published: 32 x 32 at 150 "
    "MHz, twice "
    "the rate and groups of 32 are choices",
    "accuracies of the paper: neither its weights nor ImageNet are at hand",
)


def array() -> NpuSpec:
    """A DNNWeaver-v2-like array with 4-bit products at twice the rate."""
    return part("dnnweaver2-32x32", NpuSpec)
