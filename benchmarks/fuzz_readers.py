"""Damaged files for every reader of workloads: none may crash, hang, eat memory or complain unclearly.

    python benchmarks/fuzz_readers.py --minutes 60

Good files are changed at random (bits, numbers, lengths, pieces cut, doubled, exchanged, nested) and read. A
reader may take a file or refuse it with a `PimsimError` that names the file; anything else is a finding, as
is a file that takes longer than `SLOW_S` or more than `MOST_BYTES` of memory. Cases run in child processes,
so a crash of a library is seen as well. Writes `benchmarks/fuzzing.md`. The tests run a few hundred cases.
"""

from __future__ import annotations

import argparse
import gzip
import json
import mmap
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pimsim.errors import PimsimError

HERE = Path(__file__).parent
SLOW_S = 10
MOST_BYTES = 2 * 2**30
BATCH = 400

NUMBERS = (
    -1,
    0,
    1,
    2,
    127,
    128,
    255,
    65_535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**53,
    2**63 - 1,
    2**63,
    2**64,
)
TEXTS = (
    b"null", b"true", b"-1", b"1e999", b"NaN", b"[]", b"{}", b'""', b"[" * 3000, b"{" * 50, b'{"a":' * 2000,
    b"\xff\xfe", b"\x00" * 9, b"\n\n", b",,,,", b'"', b"../../../etc/passwd", b"9" * 400,
    b"-9223372036854775809", b"0.1", b"\xe2\x80\xae", b"\r", b"'",
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """A reader, the ending of its files, and good files to start from."""

    name: str
    suffix: str
    read: Callable[[Path], Any]
    seeds: Callable[[Path], list[bytes]]
    needs: str = ""


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    """One of the files, changed in one to six places."""
    content = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        _change(chance, content, seeds)
    return bytes(content)


def _change(chance: random.Random, content: bytearray, seeds: list[bytes]) -> None:
    size = len(content)
    at = chance.randrange(size + 1)
    length = min(size - at, chance.choice((1, 1, 2, 4, 8, 16, 64, 500)))
    kind = chance.randrange(10)
    if kind == 0:
        del content[at:]
    elif kind == 1:
        del content[at : at + length]
    elif kind == 2:
        content[at:at] = content[at : at + length] * chance.choice((1, 2, 50))
    elif kind == 3 and size:
        at = min(at, size - 1)
        content[at] ^= 1 << chance.randrange(8)
    elif kind == 4:
        content[at : at + 1] = bytes([chance.randrange(256)])
    elif kind == 5:
        number, form = chance.choice(NUMBERS), chance.choice(("<I", "<Q", "<H"))
        wide = struct.calcsize(form)
        content[at : at + wide] = struct.pack(form, number % (1 << 8 * wide))
    elif kind == 6:  # a number in the text
        digits = [i for i in range(at, min(size, at + 400)) if 48 <= content[i] <= 57]
        if digits:
            end = digits[0]
            while end < size and 48 <= content[end] <= 57:
                end += 1
            content[digits[0] : end] = str(chance.choice(NUMBERS)).encode()
    elif kind == 7:
        content[at : at + length] = chance.choice(TEXTS)
    elif kind == 8:
        other = chance.choice(seeds)
        start = chance.randrange(len(other) + 1)
        content[at : at + length] = other[start : start + chance.choice((1, 8, 64, 500))]
    else:  # two pieces exchanged
        to = chance.randrange(size + 1)
        piece = bytes(content[at : at + length])
        del content[at : at + length]
        content[to:to] = piece


def verdict(reader: Reader, path: Path) -> str:
    """`read`, `refused`, or what is wrong with how the reader took the file."""
    try:
        reader.read(path)
    except PimsimError as error:
        told = str(error)
        if path.name not in told:
            return f"unclear: names no file: {told[:120]}"
        return "unclear: a complaint of more than 3000 characters" if len(told) > 3000 else "refused"
    except MemoryError:
        return "memory"
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1]
        return (
            f"unclear: {type(error).__name__}: {str(error)[:100]} ({Path(line.filename).name}:{line.lineno})"
        )
    return "read"


# Good files


def _written(write: Callable[[Path], None], path: Path) -> bytes:
    write(path)
    return path.read_bytes()


def _traces(folder: Path) -> list[bytes]:
    from pimsim.trace import decode_trace, write_trace

    trace = decode_trace(_tiny(folder), 5)
    return [_written(lambda path: write_trace(trace, path), folder / "seed.jsonl")]


def _packed_traces(folder: Path) -> list[bytes]:
    return [gzip.compress(each, mtime=0) for each in _traces(folder)]


def _tiny(folder: Path) -> Any:
    from pimsim.trace import load_config

    path = folder / "seed-config.json"
    path.write_bytes(_configs(folder)[0])
    return load_config(path)


def _configs(folder: Path) -> list[bytes]:
    dense = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 160,
        "rms_norm_eps": 1e-5,
    }
    mixed = dense | {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}
    opt = {"model_type": "opt", "hidden_size": 64, "ffn_dim": 96, "num_hidden_layers": 2,
           "num_attention_heads": 4, "vocab_size": 160, "max_position_embeddings": 64}  # fmt: skip
    return [json.dumps(each, indent=1).encode() for each in (dense, mixed, opt)]


def _read_config(path: Path) -> Any:
    from pimsim.trace import decode_trace, load_config

    config = load_config(path)
    if config.num_hidden_layers <= 64 and config.num_experts <= 64:
        try:
            return decode_trace(config, 9)
        except PimsimError:
            return None  # clear as it is: it names the model
    return config


def _topologies(folder: Path) -> list[bytes]:
    head = (
        "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"
    )
    rows = "Conv1,224,224,7,7,3,64,2,\nConv2,56,56,3,3,64,64,1,\n"
    gpu = "QKT,1024,64,64,1024,1,1,1,Gemm,-1,-1,-1,\nP,8,8,2,2,16,1,2,Pool,-1,-1,-1,\n"
    more = " Type, IFMAP Base Addr, Filter Base Addr, Ofmap Base Addr,"
    texts = [f"{head}\n{rows}", "Layer, M, N, K,\na,4,6,8,\nb,1,2,3,\n", f"{head}{more}\n{gpu}"]
    return [each.encode() for each in texts]


def _recordings(folder: Path) -> list[bytes]:
    def event(name: str, start: int, length: int, dims: list[Any], values: tuple[str, ...] = ()) -> Any:
        args = {"Input Dims": dims, "Input type": ["float"] * len(dims), "Concrete Inputs": list(values)}
        more = {"pid": 1, "tid": 2, "ts": start, "dur": length, "args": args}
        return {"ph": "X", "cat": "cpu_op", "name": f"aten::{name}", **more}

    conv = ("", "", "", "[2, 2]", "[3, 3]", "[1, 1]", "1")
    events = [
        event("linear", 10, 10, [[4, 8], [6, 8], [6]]),
        event("addmm", 13, 5, [[6], [4, 8], [8, 6]]),
        event("conv2d", 30, 5, [[1, 3, 8, 8], [4, 3, 7, 7], [], [], [], [], []], conv),
        event("softmax", 40, 1, [[4, 9]]),
        event("layer_norm", 42, 1, [[4, 8], [], [8], [8]]),
        event("embedding", 44, 1, [[100, 8], [5]]),
        event("bmm", 46, 1, [[2, 3, 4], [2, 4, 5]]),
    ]
    nodes = [
        {
            "id": i + 2,
            "name": each["name"],
            "ctrl_deps": 1,
            "inputs": {
                "shapes": each["args"]["Input Dims"],
                "types": ["Tensor(float)"] * len(each["args"]["Input Dims"]),
                "values": each["args"]["Concrete Inputs"],
            },
        }
        for i, each in enumerate(events)
    ]
    return [
        json.dumps(each).encode() for each in ({"traceEvents": events}, {"schema": "1.1.1", "nodes": nodes})
    ]


def _requests(folder: Path) -> list[bytes]:
    table = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.25,128,12\n0.5,7,3\n1e1,5,6\n"
    lines = [{"input_toks": 7, "output_toks": 3, "arrival_time_ns": 10**6 * i} for i in range(3)]
    return [table.encode(), b"\n".join(json.dumps(each).encode() for each in lines)]


def _safetensors(folder: Path) -> list[bytes]:
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [5], "data_offsets": [24, 34]},
    }
    text = json.dumps(header).encode()
    return [struct.pack("<Q", len(text)) + text + bytes(34)]


def _gguf(folder: Path) -> list[bytes]:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    numbers = {"embedding_length": 64, "block_count": 1, "attention.head_count": 4, "feed_forward_length": 96}
    settings = [text("general.architecture") + struct.pack("<I", 8) + text("llama")]
    settings += [text(f"llama.{key}") + struct.pack("<II", 4, value) for key, value in numbers.items()]
    settings.append(text("tokens") + struct.pack("<IIQ", 9, 8, 3) + text("a") + text("b") + text("c"))
    settings.append(text("scores") + struct.pack("<IIQ3f", 9, 6, 3, 1, 2, 3))
    shapes = {
        "token_embd": (64, 160), "blk.0.attn_q": (64, 64), "blk.0.attn_k": (64, 64), "blk.0.attn_v": (64, 64),
        "blk.0.attn_output": (64, 64), "blk.0.ffn_gate": (64, 96), "blk.0.ffn_up": (64, 96),
        "blk.0.ffn_down": (96, 64), "blk.0.attn_norm": (64,), "blk.0.ffn_norm": (64,), "output_norm": (64,),
    }  # fmt: skip
    tensors, at = [], 0
    for name, shape in shapes.items():
        kind, bits = (8, 34 / 32) if len(shape) > 1 else (0, 4)
        axes = b"".join(struct.pack("<Q", size) for size in shape)
        tensors.append(
            text(f"{name}.weight") + struct.pack("<I", len(shape)) + axes + struct.pack("<IQ", kind, at)
        )
        elements = shape[0] * (shape[1] if len(shape) > 1 else 1)
        at += -(-int(elements * bits) // 32) * 32
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(settings)) + b"".join((*settings, *tensors))
    return [head + bytes(-len(head) % 32 + at)]


def _read_gguf(path: Path) -> Any:
    from pimsim.trace.gguf import gguf_config, read_gguf

    return gguf_config(read_gguf(path))


def _onnx(folder: Path) -> list[bytes]:
    import onnx
    from onnx import TensorProto, helper

    def info(name: str, *shape: int, kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    def weight(name: str, *shape: int) -> Any:
        size = 1
        for each in shape:
            size *= each
        return helper.make_tensor(name, TensorProto.FLOAT, shape, [0.0] * size)

    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["m", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "g"], ["y"], transB=1),
    ]
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1, 16])
    weights = [weight("w", 4, 3, 3, 3), weight("b", 4), weight("v", 10, 16), weight("g", 10), shape]
    first = helper.make_graph(nodes, "g", [info("x", 1, 3, 8, 8)], [info("y", 1, 10)], weights)
    words = [
        helper.make_node("Gather", ["table", "ids"], ["h"]),
        helper.make_node("MatMul", ["h", "p"], ["q"]),
        helper.make_node("Transpose", ["h"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "t"], ["s"]),
        helper.make_node("Softmax", ["s"], ["a"]),
        helper.make_node("MatMul", ["a", "h"], ["o"]),
        helper.make_node("LayerNormalization", ["o", "n"], ["z"]),
        helper.make_node("Split", ["z"], ["z1", "z2"], axis=2, num_outputs=2),
        helper.make_node("Concat", ["z1", "z2"], ["y"], axis=1),
    ]
    held = [weight("table", 20, 8), weight("p", 8, 8), weight("n", 8)]
    ids = info("ids", 2, 5, kind=TensorProto.INT64)
    second = helper.make_graph(words, "g", [ids], [info("y", 2, 10, 4)], held)
    made = [helper.make_model(each).SerializeToString() for each in (first, second)]
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_squeezenet.onnx"
    return [*made, *([light.read_bytes()] if light.exists() else [])]


def _read_onnx(path: Path) -> Any:
    from pimsim.trace.onnx import read_onnx

    return read_onnx(path)


def _chakra(folder: Path) -> list[bytes]:
    from pimsim.trace import decode_trace
    from pimsim.trace.chakra import messages, write_chakra

    trace = decode_trace(_tiny(folder), 5)
    own = _written(lambda path: write_chakra(trace, path), folder / "seed.et")
    content = b"\x00"
    for number, name, shapes in ((1, "mm", "[[2, 3], [3, 5]]"), (2, "linear", "[[4, 8], [6, 8], [6]]")):
        node = messages()["Node"](
            id=number, name=f"aten::{name}", type=4, data_deps=[number - 1][: number - 1]
        )
        node.inputs.shapes, node.inputs.types = shapes, "['Tensor(float)', 'Tensor(float)']"
        part = node.SerializeToString()
        content += bytes([len(part)]) + part
    return [own, content]


def _read_chakra(path: Path) -> Any:
    from pimsim.trace.chakra import read_chakra

    return read_chakra(path)


def _of(module: str, name: str) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        return getattr(__import__(f"pimsim.trace.{module}", fromlist=[name]), name)(path)

    return read


READERS = {
    reader.name: reader
    for reader in (
        Reader("trace", ".jsonl", _of("file", "read_trace"), _traces),
        Reader("trace-gz", ".jsonl.gz", _of("file", "read_trace"), _packed_traces),
        Reader("config", ".json", _read_config, _configs),
        Reader("scalesim", ".csv", _of("scalesim", "read_scalesim"), _topologies),
        Reader("pytorch", ".json", _of("pytorch", "read_pytorch"), _recordings),
        Reader("serving", ".csv", _of("requests", "read_serving"), _requests),
        Reader("safetensors", ".safetensors", _of("safetensors", "read_safetensors"), _safetensors),
        Reader("gguf", ".gguf", _read_gguf, _gguf),
        Reader("onnx", ".onnx", _read_onnx, _onnx, "onnx"),
        Reader("chakra", ".et", _read_chakra, _chakra, "google.protobuf"),
    )
}


# Long runs


def _child(
    reader: Reader, seeds: list[bytes], seed: int, first: int, shared: mmap.mmap, folder: Path
) -> None:
    """Cases from `first` on; the number of the one at work lies in shared memory."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel ends a case that hangs
    path = folder / f"case{reader.suffix}"
    results: Counter[str] = Counter()
    for number in range(first, first + BATCH):
        shared[:8] = struct.pack("<Q", number)
        path.write_bytes(mutated(random.Random(f"{reader.name}/{seed}/{number}"), seeds))
        signal.alarm(SLOW_S)
        told = verdict(reader, path)
        signal.alarm(0)
        results[told if told in ("read", "refused") else f"{told} [case {number}]"] += 1
    (folder / "results.json").write_text(json.dumps(results))


def fuzz(reader: Reader, seconds: float, seed: int) -> Counter[str]:
    """Run cases for some time; how often each verdict came."""
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name, mmap.mmap(-1, 8) as shared:
        folder = Path(name)
        seeds, number, end = reader.seeds(folder), 0, time.monotonic() + seconds
        for each in seeds:
            (folder / f"good{reader.suffix}").write_bytes(each)
            told = verdict(reader, folder / f"good{reader.suffix}")
            if told != "read":
                total[f"a good file is {told}"] += 1
        while time.monotonic() < end:
            (folder / "results.json").unlink(missing_ok=True)
            child = os.fork()
            if not child:
                try:
                    _child(reader, seeds, seed, number, shared, folder)
                finally:
                    os._exit(0)
            _, status = os.waitpid(child, 0)
            if (folder / "results.json").exists():
                total.update(json.loads((folder / "results.json").read_text()))
                number += BATCH
                continue
            (at,) = struct.unpack("<Q", shared[:8])
            what = "hang" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM else "crash"
            total[f"{what}: status {status} [case {at}]"] += 1
            total["read or refused before a crash"] += at - number
            number = at + 1
    return total


def main() -> None:
    """Fuzz every reader for its share of the time and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=READERS, action="append", help="these readers")
    parser.add_argument("--out", type=Path, default=HERE / "fuzzing.md")
    given = parser.parse_args()
    chosen = [READERS[name] for name in given.only or READERS]
    lines = [
        f"Damaged files, {given.minutes:g} minutes, seed {given.seed}, Python {sys.version.split()[0]}.",
        "",
        "| reader | files | read | refused | findings |",
        "|---|---|---|---|---|",
    ]
    found: list[str] = []
    for reader in chosen:
        total = fuzz(reader, 60 * given.minutes / len(chosen), given.seed)
        bad = {told: count for told, count in total.items() if told not in ("read", "refused")}
        bad.pop("read or refused before a crash", None)
        files = sum(total.values())
        row = f"| {reader.name} | {files:,} | {total['read']:,} | {total['refused']:,} | {len(bad)} |"
        lines.append(row)
        print(row, flush=True)
        for told in list(bad)[:20]:
            found.append(f"- {reader.name}: {told}")
            print(found[-1], flush=True)
    given.out.write_text("\n".join([*lines, "", *found]).rstrip() + "\n", encoding="utf-8")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
