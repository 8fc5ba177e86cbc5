"""PyTorch modules captured as traces, against our own producers and against counts by hand."""

import json
from collections import Counter
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch_models import ResNet50, ViT  # noqa: E402

from pimsim.errors import TraceError  # noqa: E402
from pimsim.trace import decode_trace, load_config, prefill_trace, read_trace, write_trace  # noqa: E402
from pimsim.trace.capture import capture, capture_step  # noqa: E402
from pimsim.trace.training import FaceStep  # noqa: E402
from pimsim.trace.vision import vision_model  # noqa: E402
from pimsim.trace.vision_trace import vision_trace  # noqa: E402

pytestmark = pytest.mark.extra
DATA = Path(__file__).parents[1] / "data" / "llm"


def by_kind(trace):
    """FLOPs, bytes read and bytes written by kind."""
    sums = {}
    for op in trace.operators:
        cost = trace.cost(op)
        row = (cost.flops, cost.bytes_read, cost.bytes_written)
        sums[op.kind] = tuple(a + b for a, b in zip(sums.get(op.kind, (0, 0, 0)), row, strict=True))
    return sums


def macs(trace, *phases):
    """Multiply-adds of convolutions and products, biases left out."""
    total = 0
    for op in trace.operators:
        if op.kind in ("conv2d", "matmul") and op.phase in phases:
            bias = trace.tensor(op.outputs[0]).elements if len(op.inputs) == 3 else 0
            total += (trace.flops(op) - bias) // 2
    return total


def shallow(tmp_path, model, layers):
    """The configuration of a public model with fewer layers."""
    settings = json.loads((DATA / f"{model}.json").read_text())
    settings["num_hidden_layers"] = layers
    path = tmp_path / f"{model}.json"
    path.write_text(json.dumps(settings))
    return path


def on_meta(make):
    with torch.device("meta"):
        return make().eval()


# ---- agreement with the producers


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        ("llama-3.2-1b", {"prompt": 24}),
        ("llama-3.2-1b", {"context": 40}),
        ("gemma-3-1b", {"prompt": 24}),
        ("qwen3-0.6b", {"prompt": 24}),
        ("gemma-3-1b", {"context": 40}),
    ],
)
def test_language_models_agree_with_our_producer(tmp_path, model, mode):
    pytest.importorskip("transformers")
    from pimsim.trace.capture.huggingface import capture_language_model

    path = model if model.startswith("llama") else shallow(tmp_path, model, 7)
    captured = capture_language_model(path, **mode)
    config = load_config(path)
    ours = prefill_trace(config, 24) if "prompt" in mode else decode_trace(config, 40)
    assert by_kind(captured.trace) == by_kind(ours)
    assert captured.trace.parameters() == ours.parameters()
    assert sum(t.bytes for t in captured.trace.tensors if t.role == "kv") == sum(
        t.bytes for t in ours.tensors if t.role == "kv"
    )
    assert captured.skipped == {}
    assert captured.trace.meta.get("views") is None


@pytest.mark.parametrize(("make", "name"), [(ResNet50, "resnet50"), (ViT, "vit_base")])
@pytest.mark.parametrize("batch", [1, 2])
def test_vision_networks_agree_with_our_producer(make, name, batch):
    module, pictures = on_meta(make), torch.empty(batch, 3, 224, 224, device="meta")
    fused, ours, model = capture(module, (pictures,)), vision_trace(name, batch=batch), vision_model(name)
    assert by_kind(fused.trace) == by_kind(ours)
    assert fused.trace.parameters() == ours.parameters()
    # Not joined, the batch norms have both their parameters: the published count.
    plain = capture(module, (pictures,), fuse=False)
    assert plain.trace.parameters() == model.parameters
    products = sum(layer.macs for layer in model.layers if layer.kind == "attention")
    assert macs(plain.trace, "forward") == batch * (model.macs - products)


def test_a_face_training_step_agrees_with_our_producer():
    from experiments.face.modules import IrResNet, Unpg

    batch, identities = 4, 1000
    backbone, loss = on_meta(lambda: IrResNet("ir_resnet34")), on_meta(lambda: Unpg(identities=identities))
    captured = capture_step(
        backbone,
        (torch.empty(batch, 3, 112, 112),),
        loss=loss,
        targets=(torch.empty(batch, dtype=torch.int64),),
    )
    trace = captured.trace
    step = FaceStep(backbone="ir_resnet34", batch=batch, identities=identities)
    parts = {part.name: part for part in step.parts()}
    assert macs(trace, "forward") == parts["backbone forward"].macs
    assert macs(trace, "loss") == parts["logits"].macs + parts["similarities"].macs
    assert macs(trace, "backward") == sum(
        part.macs for part in step.parts() if "gradient of" in part.name or part.name == "backbone backward"
    )
    shapes = {trace.matmul_shape(op) for op in trace.operators if op.kind == "matmul" and op.layer is None}
    assert {part.shape for part in step.parts() if part.shape} <= shapes
    weights = step.class_parameters + vision_model("ir_resnet34").parameters
    assert trace.parameters() == weights
    memory = captured.memory()
    assert memory["weights"] == memory["optimiser state"] == 4 * weights  # float32
    assert memory["gradients"] <= 4 * weights
    # Ours counts each layer's output once, in 2 bytes: a lower bound, as norms and PReLUs keep their own.
    assert captured.peak_activation_bytes > 2 * step.memory_bytes()["activations"]
    # Values into and out of products and convolutions, all read and written once.
    products = [op for op in trace.operators if op.phase == "forward" and op.kind in ("conv2d", "matmul")]
    values = sum(trace.tensor(op.outputs[0]).elements for op in products)
    assert values == parts["backbone forward"].written_bytes // 2
    assert {op.phase for op in trace.operators} == {"forward", "loss", "backward", "update"}


# ---- lifetimes


class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(16, 64), nn.Linear(64, 8)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def test_memory_of_an_inference_by_hand():
    captured = capture(on_meta(Chain), (torch.empty(4, 16),))
    # 4 x 64 float32 values before and after the ReLU at once; the first is gone when 4 x 8 are written.
    assert captured.peak_activation_bytes == 2 * 4 * 64 * 4
    memory = captured.memory()
    assert memory["weights"] == 4 * (16 * 64 + 64 + 64 * 8 + 8)
    assert memory["inputs"] == 4 * 16 * 4
    by_name = {each.name: each for each in captured.lifetimes}
    assert by_name["first.out"].last == by_name["first.out"].first + 1
    assert by_name["second.out"].last is None  # the caller has it


def test_memory_of_a_training_step_by_hand():
    captured = capture_step(
        on_meta(Chain), (torch.empty(4, 16),), loss=lambda y: y.square().sum(), name="chain"
    )
    assert captured.memory()["optimiser state"] == captured.memory()["weights"]
    # Backward needs the ReLU's result (for its own gradient and for that of the second weight) but not the
    # sum before it.
    held = {each.name: each.last - each.first for each in captured.lifetimes if each.last and each.first}
    assert held["first.out"] < 4
    assert held["relu.out"] > 5
    gradients = [each for each in captured.lifetimes if each.owner == "gradients"]
    assert sum(each.bytes for each in gradients) == captured.memory()["weights"]


def test_the_second_step_has_the_state_of_the_optimiser():
    adam = capture_step(
        on_meta(Chain),
        (torch.empty(4, 16),),
        loss=lambda y: y.sum(),
        optimiser=lambda parameters: torch.optim.AdamW(parameters, foreach=False),
    )
    weights = adam.memory()["weights"]
    assert adam.memory()["optimiser state"] == 2 * weights + 4 * 4  # two moments, four counters
    reads = sum(adam.trace.bytes_read(op) for op in adam.trace.operators if op.phase == "update")
    assert reads > 4 * weights


# ---- what becomes of calls


def test_an_embedding_is_a_gather():
    captured = capture(on_meta(lambda: nn.Embedding(1000, 32)), (torch.empty(5, dtype=torch.int64),))
    (op,) = captured.trace.operators
    assert (op.kind, op.attrs["rows"], captured.trace.flops()) == ("gather", 5, 0)
    assert captured.trace.bytes_read() == 5 * 32 * 4 + 5 * 4  # rows, not the table; indices as int32


def test_tied_weights_count_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(100, 8), nn.Linear(8, 100, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x):
            return self.head(self.embed(x))

    captured = capture(on_meta(Tied), (torch.empty(3, dtype=torch.int64),))
    assert captured.trace.parameters() == 800
    assert [op.kind for op in captured.trace.operators] == ["gather", "matmul"]


def test_what_depends_on_shapes_alone_is_left_out():
    class Masked(nn.Module):
        def forward(self, x):
            mask = torch.arange(x.shape[1]).float().cos().square()
            return x * mask

    captured = capture(Masked(), (torch.empty(2, 9),))
    assert [op.attrs["function"] for op in captured.trace.operators] == ["mul"]


def test_an_exported_program():
    program = torch.export.export(Chain(), (torch.empty(4, 16),))
    captured = capture(program.module(), (torch.empty(4, 16),))
    direct = capture(Chain(), (torch.empty(4, 16),))
    assert by_kind(captured.trace) == by_kind(direct.trace)
    assert captured.trace.parameters() == direct.trace.parameters()


def test_gradients_of_a_strided_convolution_cost_what_it_costs():
    module = nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2, bias=False)
    captured = capture_step(
        nn.Sequential(nn.Conv2d(3, 6, 1, bias=False), module),
        (torch.empty(2, 3, 12, 12),),
        loss=lambda y: y.sum(),
    )
    own = [op for op in captured.trace.operators if op.name.startswith("1") and op.kind == "conv2d"]
    costs = Counter((op.phase, captured.trace.flops(op)) for op in own)
    one = 2 * 2 * 8 * 6 * 6 * 3 * 9
    assert costs == {("forward", one): 1, ("backward", one): 2}


def test_batched_products_and_attention_backward():
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = nn.Linear(32, 32, bias=False)

        def forward(self, x):
            q = self.q(x).view(2, 10, 4, 8).transpose(1, 2)
            return nn.functional.scaled_dot_product_attention(q, q, q)

    captured = capture_step(Attend(), (torch.empty(2, 10, 32),), loss=lambda y: y.sum())
    one = 2 * 10 * 10 * 8  # a product of one head
    found = Counter(captured.trace.flops(op) for op in captured.trace.operators if op.phase == "backward")
    assert found[one] == 5 * 2 * 4  # five products for each of 2 x 4 heads
    forward = [op for op in captured.trace.operators if op.kind == "attention"]
    assert sum(captured.trace.flops(op) for op in forward) == 2 * 4 * 2 * one


def test_a_capture_survives_its_file(tmp_path):
    captured = capture(on_meta(lambda: ViT(dim=64, heads=4, depth=1, size=32)), (torch.empty(1, 3, 32, 32),))
    write_trace(captured.trace, tmp_path / "vit.jsonl.gz")
    assert read_trace(tmp_path / "vit.jsonl.gz") == captured.trace
    assert set(captured.trace.meta["views"].values()) <= {t.name for t in captured.trace.tensors}


def test_the_same_capture_twice_is_the_same():
    def one():
        return capture_step(on_meta(Chain), (torch.empty(4, 16),), loss=lambda y: y.sum())

    first, second = one(), one()
    assert first.trace.digest() == second.trace.digest()
    assert first.lifetimes == second.lifetimes


def test_the_module_is_as_it_was():
    module = Chain()
    before, mode = dict(module.named_parameters()), module.training
    capture(module, (torch.empty(4, 16),))
    capture_step(module, (torch.empty(4, 16),), loss=lambda y: y.sum())
    after = dict(module.named_parameters())
    assert all(after[name] is each for name, each in before.items())
    assert module.training is mode
    assert all(each.grad is None for each in after.values())


# ---- what cannot be captured


class Odd(nn.Module):
    def __init__(self, run):
        super().__init__()
        self.run = run

    def forward(self, x):
        return self.run(x)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (lambda x: torch.fft.fft(x), r"complex64"),
        (lambda x: torch.linalg.qr(x)[0], r"calls without a counterpart: linalg_qr x 1; skip_unknown"),
        (lambda x: x[x > 0], r"failed on fake tensors: its shapes depend on data"),
        (lambda x: x @ torch.empty(7, 7), r"forward pass of Odd failed on fake tensors: RuntimeError"),
        (lambda x: torch.zeros(3), r"no operator works on the module's inputs"),
        (lambda x: x.double() * 2, r"calls without a counterpart: .*float64"),
    ],
)
def test_what_cannot_be_captured_says_why(run, says):
    with pytest.raises(TraceError, match=says):
        capture(Odd(run), (torch.empty(4, 4),))


def test_unknown_calls_can_be_counted():
    captured = capture(Odd(lambda x: torch.linalg.qr(x)[0] + 1), (torch.empty(4, 4),), skip_unknown=True)
    assert captured.skipped == {"linalg_qr": 1}
    assert captured.trace.meta["skipped"] == {"linalg_qr": 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", r"not a configuration"),
        ("[]", r"wanted an object with a model_type"),
        (json.dumps({"model_type": "no-such-model"}), r"building the model of .* failed"),
        (json.dumps({"model_type": "llama", "num_hidden_layers": 10**9}), r"num_hidden_layers=10+: wanted"),
        (json.dumps({"model_type": "llama", "hidden_size": -8}), r"building the model of .* failed"),
    ],
)
def test_bad_configurations(tmp_path, text, says):
    pytest.importorskip("transformers")
    from pimsim.trace.capture.huggingface import capture_language_model

    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(TraceError, match=says):
        capture_language_model(path, prompt=4)


# Modules whose multiply-adds follow from their shapes.
MODULES = {
    "convolution of one axis": (lambda: nn.Conv1d(8, 4, 3), (2, 8, 7), 2 * 4 * 5 * 8 * 3),
    "transposed convolution": (
        lambda: nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1),
        (2, 8, 7, 7),
        2 * 8 * 7 * 7 * 4 * 9,  # each input pixel meets each weight
    ),
    "gru": (lambda: nn.GRU(8, 16, batch_first=True), (2, 5, 8), 2 * 5 * 3 * 16 * (8 + 16)),
    "lstm": (lambda: nn.LSTM(8, 16, batch_first=True), (2, 5, 8), 2 * 5 * 4 * 16 * (8 + 16)),
    "encoder layer": (
        lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
        (2, 5, 16),
        2 * 5 * (4 * 16 * 16 + 2 * 16 * 32) + 2 * 4 * 2 * 5 * 5 * 4,
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_by_hand(name):
    make, shape, wanted = MODULES[name]
    module = make().eval()
    trace = capture(module, (torch.empty(shape),), fuse=False).trace
    attention = sum(trace.flops(op) // 2 for op in trace.operators if op.kind == "attention")
    assert macs(trace, "forward") + attention == wanted
    assert trace.parameters() == sum(each.numel() for each in module.parameters())


def test_gradients_of_a_transposed_convolution():
    module = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.ConvTranspose2d(8, 4, 3, stride=2, bias=False))
    captured = capture_step(module, (torch.empty(2, 3, 7, 7),), loss=lambda y: y.sum())
    one = 2 * 8 * 7 * 7 * 4 * 9
    own = [op for op in captured.trace.operators if op.name.startswith("1") and op.kind == "conv2d"]
    assert [captured.trace.flops(op) for op in own] == [2 * one] * 3


def test_experts_are_spread_evenly(tmp_path):
    pytest.importorskip("transformers")
    from pimsim.trace.capture.huggingface import capture_language_model

    path = shallow(tmp_path, "mixtral-8x7b", 2)
    captured = capture_language_model(path, context=6)
    ours = decode_trace(load_config(path), 6)
    assert captured.trace.parameters() == ours.parameters()
    # Products are ours to the last; sorting the rows by expert costs a little of its own.
    assert by_kind(captured.trace)["matmul"][0] == by_kind(ours)["matmul"][0]
    assert captured.trace.bytes_read() == pytest.approx(ours.bytes_read(), rel=1e-3)
