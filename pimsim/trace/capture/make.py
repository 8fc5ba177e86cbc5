"""`capture` and `capture_step`: record, join, and make the trace and the lifetimes of memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from pimsim.errors import TraceError
from pimsim.trace.assemble import Assembler, Use
from pimsim.trace.op import Trace

try:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._pytree import tree_flatten, tree_flatten_with_path
except ImportError as error:
    raise TraceError("capturing a module needs PyTorch: install pimsim[torch]") from error

from pimsim.trace.capture.fuse import fuse as fuse_calls
from pimsim.trace.capture.fuse import join_norms
from pimsim.trace.capture.operand import Operand, Step, Unknown
from pimsim.trace.capture.record import (
    Attention,
    Call,
    Recorder,
    Storage,
    fake,
    fake_tree,
    guarded,
    watched,
)
from pimsim.trace.capture.steps import DTYPES, steps

OWNERS = ("weights", "buffers", "inputs", "gradients", "optimiser state", "activations")
_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|layer|h)\.(\d+)(?:\.|$)")
_OWN_NAME = ("matmul", "conv2d", "norm", "gather", "attention")


@dataclass(frozen=True, kw_only=True)
class Lifetime:
    """A piece of memory: bytes, and the calls (numbered from 1) from which to which it is held; both None of
    what is there before, or after, all of them. owner: one of `OWNERS`."""

    name: str
    owner: str
    bytes: int
    first: int | None
    last: int | None


@dataclass(frozen=True, kw_only=True)
class Captured:
    """A trace, the calls left out (name -> how often), and who held which memory when PyTorch ran it."""

    trace: Trace
    skipped: dict[str, int]
    lifetimes: tuple[Lifetime, ...]
    calls: int

    def memory(self) -> dict[str, int]:
        """Bytes by owner at the call at which most is held in all."""
        at = self._peak(self.lifetimes)
        held: dict[str, int] = dict.fromkeys(OWNERS, 0)
        for each in self.lifetimes:
            if (each.first or 0) <= at and (each.last is None or at <= each.last):
                held[each.owner] += each.bytes
        return held

    @property
    def peak_bytes(self) -> int:
        """The most memory that is held at once."""
        return sum(self.memory().values())

    @property
    def peak_activation_bytes(self) -> int:
        """The most memory that activations alone hold at once."""
        own = [each for each in self.lifetimes if each.owner == "activations"]
        return self.held(self._peak(own), own)

    def held(self, call: int, lifetimes: Iterable[Lifetime] | None = None) -> int:
        """Bytes held during a call."""
        every = self.lifetimes if lifetimes is None else lifetimes
        return sum(
            each.bytes
            for each in every
            if (each.first or 0) <= call and (each.last is None or call <= each.last)
        )

    def history(self) -> dict[str, list[int]]:
        """Bytes by owner before the first call (0) and during every call."""
        return {owner: self._held(each for each in self.lifetimes if each.owner == owner) for owner in OWNERS}

    def _held(self, lifetimes: Iterable[Lifetime]) -> list[int]:
        change = [0] * (self.calls + 2)
        for each in lifetimes:
            change[each.first or 0] += each.bytes
            change[(self.calls if each.last is None else min(each.last, self.calls)) + 1] -= each.bytes
        return list(accumulate(change[:-1]))

    def _peak(self, lifetimes: Iterable[Lifetime]) -> int:
        """The first call at which the most bytes are held."""
        held = self._held(lifetimes)
        return held.index(max(held))


def capture(
    module: Any,
    inputs: Sequence[Any] = (),
    keywords: Mapping[str, Any] | None = None,
    *,
    name: str = "",
    phase: str = "forward",
    fuse: bool = True,
    skip_unknown: bool = False,
) -> Captured:
    """The operators of one forward pass of a `torch.nn.Module`, without gradients.

    inputs, keywords: the arguments, of which only shapes and types count. phase: label of the operators.
    fuse: join what an inference engine runs as one. skip_unknown: count calls without a counterpart instead
    of refusing them. The module's mode (train or eval) stays as it is.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    recorder = Recorder(_names([module]))
    recorder.phase = phase
    given, given_keywords = fake_tree((tuple(inputs), dict(keywords or {})), mode)
    with fake([module], mode), mode, torch.no_grad():
        owners = _declare(recorder, [module], given, given_keywords)
        with recorder, Attention(recorder), watched(recorder):
            result = guarded(
                f"forward pass of {type(module).__name__}", lambda: module(*given, **given_keywords)
            )
        for each in (t for t in tree_flatten(result)[0] if isinstance(t, torch.Tensor)):
            storage = recorder.value(each).storage
            storage.role = "output" if storage.role == "activation" else storage.role
        alive = {id(storage) for storage in recorder.storages if storage.dies is None}
        lifetimes = _lifetimes(recorder, owners)
        calls = recorder.calls
        if fuse:
            outputs = {id(s) for s in recorder.storages if s.role == "output"}
            calls = fuse_calls(join_norms(calls, recorder.norms), outputs)
        _mark_caches(calls, alive)
        made = _made(recorder, calls, name or type(module).__name__, fuse, lifetimes, skip_unknown)
        del result
    return made


def capture_step(
    module: Any,
    inputs: Sequence[Any],
    keywords: Mapping[str, Any] | None = None,
    *,
    loss: Callable[..., Any],
    targets: Sequence[Any] = (),
    optimiser: Callable[[list[Any]], Any] | None = None,
    name: str = "",
    skip_unknown: bool = False,
) -> Captured:
    """A training step: forward, loss, backward and the optimiser's update, as PyTorch runs them one by one.

    loss: called with the module's result and `targets`; a module whose parameters are trained too, or a
    function. optimiser: makes the optimiser from the parameters, by default SGD with momentum. The step
    recorded is the second one: the optimiser has its state. Phases: forward, loss, backward, update.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    modules = [module, *([loss] if isinstance(loss, torch.nn.Module) else [])]
    modes = [each.training for each in modules]
    recorder = Recorder(_names(modules))
    given, given_keywords = fake_tree((tuple(inputs), dict(keywords or {})), mode)
    wanted = fake_tree(tuple(targets), mode)
    try:
        for each in modules:
            each.train()
        with fake(modules, mode), mode, torch.enable_grad():
            parameters = [p for each in modules for p in each.parameters() if p.requires_grad]
            if not parameters:
                raise TraceError(f"{type(module).__name__} has no parameters to train")
            update = (optimiser or _sgd)(parameters)

            def once(watch: Recorder | None) -> set[int]:
                def say(phase: str) -> None:
                    if watch is not None:
                        watch.phase = phase

                say("forward")
                result = module(*given, **given_keywords)
                say("loss")
                value = loss(result, *wanted)
                del result
                say("backward")
                value.backward()
                held = {
                    id(watch.value(p.grad).storage) if watch is not None else 0
                    for p in parameters
                    if p.grad is not None
                }
                say("update")
                update.step()
                update.zero_grad(set_to_none=True)
                return held

            guarded("training step", lambda: once(None))
            owners = _declare(recorder, modules, given, given_keywords, wanted)
            for number, state in enumerate(update.state.values()):
                for key, each in state.items():
                    if isinstance(each, torch.Tensor):
                        storage = recorder.declare(each, f"optimiser.{number}.{key}", "activation")
                        owners[id(storage)] = "optimiser state"
            with recorder, watched(recorder):
                gradients = guarded("training step", lambda: once(recorder))
            owners |= dict.fromkeys(gradients, "gradients")
            lifetimes = _lifetimes(recorder, owners)
            calls = join_norms(recorder.calls, recorder.norms)
            return _made(recorder, calls, name or type(module).__name__, False, lifetimes, skip_unknown)
    finally:
        for each, was in zip(modules, modes, strict=True):
            each.train(was)


def _sgd(parameters: list[Any]) -> Any:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, foreach=False)


def _names(modules: Sequence[Any]) -> dict[int, str]:
    """Path of every module; those of the second one stand under `loss`."""
    found: dict[int, str] = {}
    for outer, prefix in zip(modules, ("", "loss"), strict=False):
        for path, module in outer.named_modules(remove_duplicate=True):
            found.setdefault(id(module), ".".join(part for part in (prefix, path) if part))
    return found


def _declare(
    recorder: Recorder, modules: Sequence[Any], inputs: Any, keywords: Any, targets: Any = ()
) -> dict[int, str]:
    """Name what is there before the first call; owner of each storage."""
    owners: dict[int, str] = {}
    for outer, prefix in zip(modules, ("", "loss."), strict=False):
        for path, tensor in outer.named_parameters():
            storage = recorder.declare(tensor, prefix + path, "weight")
            owners[id(storage)] = "weights"
        for path, tensor in outer.named_buffers():
            storage = recorder.declare(tensor, prefix + path, "activation", data=False)
            owners[id(storage)] = "buffers"
    flat = tree_flatten_with_path({"input": inputs, "targets": targets, **keywords})[0]
    for path, tensor in flat:
        if isinstance(tensor, torch.Tensor):
            text = ".".join(re.sub(r"\W+", "", str(key)) for key in path)
            storage = recorder.declare(tensor, text, "input")
            owners.setdefault(id(storage), "inputs")
    return owners


def _lifetimes(recorder: Recorder, owners: Mapping[int, str]) -> tuple[Lifetime, ...]:
    return tuple(
        Lifetime(
            name=storage.name or "constant",
            owner=owners.get(id(storage), "activations"),
            bytes=storage.bytes,
            first=None if id(storage) in owners and storage.born == 0 else storage.born + 1,
            last=storage.dies,
        )
        for storage in recorder.storages
        if storage.bytes
    )


def _mark_caches(calls: Sequence[Call], alive: set[int]) -> None:
    """Keys and values that attention reads and that outlive the pass are a cache."""
    copied = {id(out.storage) for call in calls if call.name == "cat" for out in call.outputs}
    for call in calls:
        if call.name != "pimsim::attention":
            continue
        for value in (call.args["key"], call.args["value"]):
            if id(value.storage) in alive & copied:
                value.storage.role = "kv"


def _made(
    recorder: Recorder,
    calls: Sequence[Call],
    name: str,
    fused: bool,
    lifetimes: tuple[Lifetime, ...],
    skip_unknown: bool,
) -> Captured:
    found: list[tuple[Call, Step]] = []
    skipped: dict[str, int] = {}
    first: dict[str, str] = {}
    for call in calls:
        try:
            found += [(call, step) for step in steps(call)]
        except Unknown as unknown:
            skipped[str(unknown)] = skipped.get(str(unknown), 0) + 1
            first.setdefault(str(unknown), call.path or "the module")
    if skipped and not skip_unknown:
        told = ", ".join(f"{each} x {count}" for each, count in sorted(skipped.items())[:10])
        raise TraceError(
            f"{name}: {next(iter(first.values()))}: calls without a counterpart: {told}; "
            "skip_unknown (--skip-unknown) leaves them out"
        )
    if not found:
        raise TraceError(f"{name}: no operator works on the module's inputs or parameters")
    assembler = Assembler()
    names = _Names(assembler)
    for storage in recorder.storages:
        if storage.role == "weight" and storage.elements:
            names.of(storage)
    for call, step in found:
        path = call.path if call.path else call.name.split("::")[-1]
        taken = (call.phase, path) in assembler.names
        plain = call.name.split("::")[-1].strip("_")
        own = step.kind in _OWN_NAME and not step.suffix and not taken and call.path
        full = path if own else ".".join(p for p in (call.path, plain, step.suffix) if p)
        layer = _LAYER.search(call.path)
        assembler.step(
            step.kind,
            full,
            [names.use(operand) for operand in step.inputs],
            [names.use(operand) for operand in step.outputs],
            {**step.attrs, **call.attrs},
            phase=call.phase,
            layer=int(layer.group(1)) if layer else None,
        )
    result = Captured(
        trace=assembler.trace(
            name, {"from": "torch", "fused": fused, "skipped": dict(sorted(skipped.items()))}
        ),
        skipped=skipped,
        lifetimes=lifetimes,
        calls=recorder._count,
    )
    memory = {"peak_bytes": result.peak_bytes, "peak_activation_bytes": result.peak_activation_bytes}
    return replace(result, trace=replace(result.trace, meta={**result.trace.meta, **memory}))


class _Names:
    """Names of storages in the trace, one each."""

    def __init__(self, assembler: Assembler) -> None:
        self.assembler = assembler
        self.known: dict[int, str] = {}
        self.held: list[Storage] = []
        self.taken: dict[str, int] = {}

    def of(self, storage: Storage) -> str:
        known = self.known.get(id(storage))
        if known is None:
            known = storage.name or "tensor"
            count = self.taken[known] = self.taken.get(known, 0) + 1
            while count > 1 and f"{known}.{count}" in self.assembler.tensors:
                count += 1
            known = known if count == 1 else f"{known}.{count}"
            role = "activation" if storage.role == "folded" else storage.role
            self.assembler.tensor(known, storage.shape or (1,), DTYPES[storage.dtype], role)
            self.known[id(storage)] = known
            self.held.append(storage)
        return known

    def use(self, operand: Operand) -> Use:
        return operand.use(self.of(operand.storage))
