"""Running a PyTorch module on fake tensors and writing down what it dispatches.

Fake tensors have shapes, types and memory, but no data: a model of any size runs in seconds, on the meta
device or not. What is written down are the calls below autograd, as torch.export and make_fx see them; so
backward passes and optimisers are in, and every piece of memory lives as long as PyTorch would keep it.
"""

from __future__ import annotations

import contextlib
import gc
import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from pimsim.errors import TraceError

Shape = tuple[int, ...]


@dataclass(eq=False)
class Storage:
    """A piece of memory. shape: that of the first tensor in it. born, dies: numbers of calls; dies is None
    for what outlives the recording. data: depends on inputs or weights, not on shapes alone."""

    name: str
    shape: Shape
    dtype: str
    role: str
    bytes: int
    born: int
    data: bool
    phase: str = ""
    dies: int | None = None

    @property
    def elements(self) -> int:
        return _product(self.shape)


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor: some elements of a storage."""

    storage: Storage
    shape: Shape
    strides: Shape
    offset: int
    dtype: str

    @property
    def distinct(self) -> Shape:
        """The shape without what is repeated (stride 0)."""
        return tuple(size if stride else 1 for size, stride in zip(self.shape, self.strides, strict=True))

    @property
    def whole(self) -> bool:
        """It covers all of its storage."""
        return _product(self.distinct) == self.storage.elements

    @property
    def elements(self) -> int:
        return _product(self.shape)


@dataclass(eq=False)
class Call:
    """One dispatched operator. args: in the order of its schema, tensors as `Value`. path: the module that
    called it. module: number of the call of a norm module that it belongs to, 0 for none."""

    name: str
    args: dict[str, Any]
    outputs: list[Value]
    path: str
    phase: str
    number: int
    pointwise: bool = False
    module: int = 0
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> list[Value]:
        return [each for each in tree_flatten(list(self.args.values()))[0] if isinstance(each, Value)]


@dataclass(frozen=True, kw_only=True)
class NormCall:
    """A module that is one norm: its input, its result, its weights."""

    path: str
    x: Value
    result: Value
    weights: tuple[Value, ...]


_NORM = re.compile(r".*(RMSNorm|LayerNorm)", re.IGNORECASE)


class Recorder(TorchDispatchMode):
    """Writes down calls while it is entered. `phase` labels them."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.names = names
        self.phase = "forward"
        self.muted = False
        self.calls: list[Call] = []
        self.storages: list[Storage] = []
        self.norms: dict[int, NormCall] = {}
        self._known: dict[int, Storage] = {}
        self._path: list[str] = [""]
        self._module: list[int] = [0]
        self._path_of_node: dict[int, str] = {}
        self._count = 0

    def declare(self, tensor: Any, name: str, role: str, *, data: bool = True) -> Storage:
        """A tensor from before the recording: weight, buffer, input."""
        return self._storage(tensor, name, role, data)

    def value(self, tensor: Any) -> Value:
        storage = self._storage(tensor, "", "activation", False)
        return Value(
            storage=storage,
            shape=tuple(tensor.shape),
            strides=tuple(tensor.stride()),
            offset=tensor.storage_offset(),
            dtype=dtype_name(tensor.dtype),
        )

    def _storage(self, tensor: Any, name: str, role: str, data: bool) -> Storage:
        memory = tensor.untyped_storage()
        key = memory._cdata
        known = self._known.get(key)
        if known is None:
            known = Storage(
                name=name,
                shape=tuple(tensor.shape),
                dtype=dtype_name(tensor.dtype),
                role=role,
                bytes=memory.nbytes(),
                born=self._count,
                data=data,
                phase=self.phase,
            )
            self._known[key] = known
            self.storages.append(known)
            weakref.finalize(memory, self._dead, key, known).atexit = False
        return known

    def _dead(self, key: int, storage: Storage) -> None:
        if self._known.get(key) is storage:
            del self._known[key]
            storage.dies = self._count

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self.muted or func.namespace == "prim":
            return func(*args, **kwargs)
        # Inputs first: an operation in place gives its memory back as output.
        seen_args, seen_kwargs = tree_map(self._seen, (list(args), kwargs))
        result = func(*args, **kwargs)
        outputs = [self.value(each) for each in tree_flatten(result)[0] if isinstance(each, torch.Tensor)]
        path = self._where()
        named = dict(zip((a.name for a in func._schema.arguments), seen_args, strict=False)) | seen_kwargs
        self._count += 1
        call = Call(
            name=func._schema.name.removeprefix("aten::"),
            args=named,
            outputs=outputs,
            path=path,
            phase=self.phase,
            number=self._count,
            pointwise=torch.Tag.pointwise in func.tags,
            module=self._module[-1],
        )
        self.note(call, mutable=func._schema.is_mutable and torch.Tag.inplace_view not in func.tags)
        return result

    def note(self, call: Call, *, mutable: bool) -> None:
        """Keep a call, unless it only looks at memory in another way or depends on shapes alone."""
        inputs = call.inputs
        data = any(value.storage.data for value in inputs) and not call.name.endswith("_like")
        data = data and not call.name.startswith("new_")
        sources = {id(value.storage) for value in inputs}
        if not mutable and all(id(out.storage) in sources for out in call.outputs):
            return  # a view
        written = call.outputs or (inputs if mutable else [])
        for out in written:
            if not out.storage.name:
                what = "grad" if call.phase == "backward" else "out"
                out.storage.name = f"{call.path or call.name}.{what}"
            out.storage.data |= data
        if data:
            self.calls.append(call)

    def _seen(self, each: Any) -> Any:
        return self.value(each) if isinstance(each, torch.Tensor) else each

    def _where(self) -> str:
        """The module at work; behind a backward call the one whose operator it is the gradient of."""
        node = torch._C._current_autograd_node()
        if node is not None:
            return self._path_of_node.get(node._sequence_nr(), "")
        if torch.is_grad_enabled():
            self._path_of_node[torch.autograd._get_sequence_nr() - 1] = self._path[-1]
        return self._path[-1]

    def enter(self, module: Any, inputs: Any) -> None:
        self._path.append(self.names.get(id(module), self._path[-1]))
        fresh = self._module[-1] or (len(self.norms) + 1 if _is_norm(module, inputs) else 0)
        if fresh and not self._module[-1]:
            self.norms[fresh] = None  # type: ignore[assignment]  # filled in when it leaves
        self._module.append(fresh)

    def leave(self, module: Any, inputs: Any, result: Any) -> None:
        number, outer = self._module.pop(), self._module[-1]
        path = self._path.pop()
        if number and not outer:
            weights = tuple(self.value(each) for each in module.parameters(recurse=False))
            self.norms[number] = NormCall(
                path=path, x=self.value(inputs[0]), result=self.value(result), weights=weights
            )


class Attention(TorchFunctionMode):
    """Takes scaled dot-product attention as one call, where no gradient is wanted."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is not torch.nn.functional.scaled_dot_product_attention or torch.is_grad_enabled():
            return func(*args, **kwargs)
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        given = dict(zip(names, args, strict=False)) | kwargs
        query, key, value = given["query"], given["key"], given["value"]
        recorder = self.recorder
        if query.dim() != 4 or key.dim() != 4:
            return func(*args, **kwargs)
        batch, heads, tokens = query.shape[:3]
        dim = value.shape[-1]
        # Token by token in memory, as the kernels of PyTorch write it.
        result = torch.empty(batch, tokens, heads, dim, dtype=query.dtype, device=query.device)
        result = result.transpose(1, 2)
        recorder._count += 1
        call = Call(
            name="pimsim::attention",
            args={
                "query": recorder.value(query),
                "key": recorder.value(key),
                "value": recorder.value(value),
                "is_causal": bool(given.get("is_causal", False)),
            },
            outputs=[recorder.value(result)],
            path=recorder._path[-1],
            phase=recorder.phase,
            number=recorder._count,
        )
        recorder.note(call, mutable=False)
        return result


def _is_norm(module: Any, inputs: Any) -> bool:
    own = list(module.parameters(recurse=False))
    return (
        bool(_NORM.fullmatch(type(module).__name__))
        and len(inputs) == 1
        and isinstance(inputs[0], torch.Tensor)
        and len(own) <= 2
        and all(each.shape == inputs[0].shape[-1:] for each in own)
    )


@contextlib.contextmanager
def fake(modules: Sequence[Any], mode: FakeTensorMode) -> Iterator[None]:
    """Modules whose parameters, buffers and other tensors are fake ones for a while; ties stay ties."""
    memo: dict[int, Any] = {}

    def made(tensor: Any) -> Any:
        if id(tensor) not in memo:
            with mode:
                new = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
            if isinstance(tensor, torch.nn.Parameter):
                new = torch.nn.Parameter(new, requires_grad=tensor.requires_grad)
            memo[id(tensor)] = (tensor, new)  # the tensor too: its id stays taken
        return memo[id(tensor)][1]

    kept: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for module in (each for outer in modules for each in outer.modules()):
            for owner in (module._parameters, module._buffers, module.__dict__):
                for name, tensor in list(owner.items()):
                    if isinstance(tensor, torch.Tensor):
                        kept.append((owner, name, tensor))
                        owner[name] = made(tensor)
        yield
    finally:
        for owner, name, tensor in reversed(kept):
            owner[name] = tensor


@contextlib.contextmanager
def watched(recorder: Recorder) -> Iterator[None]:
    """Tell the recorder which module is at work; attention and recurrent modules take no short cut. Memory in
    cycles of references is not freed, so that lifetimes do not depend on when Python looks for such."""
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    onednn = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    hooks = torch.nn.modules.module
    handles = [
        hooks.register_module_forward_pre_hook(recorder.enter),
        hooks.register_module_forward_hook(recorder.leave),
    ]
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(onednn)
        if collects:
            gc.enable()
        for handle in handles:
            handle.remove()


def fake_tree(tree: Any, mode: FakeTensorMode) -> Any:
    """The same nest of values with fake tensors on the CPU."""

    def made(each: Any) -> Any:
        if not isinstance(each, torch.Tensor):
            return each
        with mode:
            return torch.empty_strided(each.shape, each.stride(), dtype=each.dtype, device="cpu")

    return tree_map(made, tree)


def guarded(what: str, run: Callable[[], Any]) -> Any:
    """Run the user's code; what PyTorch says about fake tensors becomes a clear error."""
    try:
        return run()
    except TraceError:
        raise
    except Exception as error:
        kind = type(error).__name__
        first = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
        hint = (
            ": its shapes depend on data, which a capture does not have"
            if "DataDependent" in kind or "DynamicOutputShape" in kind
            else ""
        )
        raise TraceError(f"{what} failed on fake tensors{hint}: {kind}: {first}") from error


def dtype_name(dtype: Any) -> str:
    """`float32` of `torch.float32`."""
    return str(dtype).removeprefix("torch.")


def _product(shape: Shape) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
