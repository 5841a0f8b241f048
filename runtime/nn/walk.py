"""Going through a module: its parameters, buffers and children by name, and changes to all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...frontend.device import device as device_of
from ...frontend.functions.arithmetic import named_dtype
from ...frontend.state import state
from ...frontend.tensor import Tensor, grad_mode
from ...ir.dtypes import DType, bfloat16, float16, float32, float64


class Walks:
    """The part of Module that visits what it holds."""

    def _entries(self, table: str) -> list[tuple[str, Any]]:
        """One of the tables; a trace notes what it reads, and which names there are."""
        found = object.__getattribute__(self, "__dict__")[table]
        entries = list(found.items())
        if state.trace is not None:
            entries = [(name, state.trace.read(self, name, value)) for name, value in entries]
            state.trace.read(self, table, found)
        return entries

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """This module and all below it, by dotted name; a module that stands twice is given once."""
        memo = set() if memo is None else memo
        if id(self) in memo and remove_duplicate:
            return
        memo.add(id(self))
        yield prefix, self
        for name, child in self._entries("_modules"):
            if child is not None:
                yield from child.named_modules(
                    memo, f"{prefix}.{name}" if prefix else name, remove_duplicate
                )

    def modules(self) -> Iterator[Any]:
        """This module and all below it."""
        return (m for _, m in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """The direct children by name, each once."""
        seen: set[int] = set()
        for name, child in self._entries("_modules"):
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Any]:
        """The direct children."""
        return (m for _, m in self.named_children())

    def _named(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in modules:
            for name, value in module._entries(table):
                if value is None or (remove_duplicate and id(value) in seen):
                    continue
                seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """All parameters by dotted name; a tied one is given once."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        """All parameters, each once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """All buffers by dotted name."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers, each once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Any:
        """The module of a dotted name; AttributeError says where the path breaks."""
        module: Any = self
        for name in target.split(".") if target else ():
            child = module._modules.get(name)
            if child is None:
                raise AttributeError(
                    f"{type(module).__name__} has no child module {name!r} (of {target!r})"
                )
            module = child
        return module

    # ---- changes to everything ----

    def apply(self, fn: Callable[[Any], Any]) -> Any:
        """Call ``fn`` on every module below, then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Any:
        """Training mode, for this module and all below it."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Any:
        """Evaluation mode: ``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Train all parameters, or none."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients (or make them zero)."""
        for p in self.parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.detach().zero_()

    def _convert(self, change: Callable[[Tensor], Tensor]) -> Any:
        made: dict[Tensor, Tensor] = {}  # by identity; a buffer that two modules share stays shared
        for module in self.modules():
            for p in module._parameters.values():
                if p is not None:
                    _replace(p, change)
            for name, b in module._buffers.items():
                if b is not None:
                    if b not in made:
                        made[b] = change(b)
                    module._note(name, made[b])
                    module._buffers[name] = made[b]
        return self

    def to(
        self, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False
    ) -> Any:
        """Convert float parameters and buffers to a dtype; move to a device (there is the CPU)."""
        for arg in args:
            if isinstance(arg, DType):
                dtype = arg
            elif isinstance(arg, Tensor):
                dtype, device = arg.dtype, arg.device
            else:
                device = arg
        if device is not None:
            device_of(device)
        if dtype is None:
            return self
        found = named_dtype(dtype)
        if not (found.is_floating_point or found.is_complex):
            raise TypeError(f"Module.to takes floating point or complex dtypes, not {found!r}")
        return self._convert(
            lambda t: t.to(found) if t.is_floating_point() or t.is_complex() else t
        )

    def float(self) -> Any:
        """Float parameters and buffers as float32."""
        return self.to(float32)

    def double(self) -> Any:
        """Float parameters and buffers as float64."""
        return self.to(float64)

    def half(self) -> Any:
        """Float parameters and buffers as float16."""
        return self.to(float16)

    def bfloat16(self) -> Any:
        """Float parameters and buffers as bfloat16."""
        return self.to(bfloat16)

    def cpu(self) -> Any:
        """The module on the CPU: itself."""
        return self

    def cuda(self, device: Any = None) -> Any:
        """The module on a GPU, of which there is none here: RuntimeError."""
        device_of("cuda" if device is None else device)
        return self


def _replace(p: Any, change: Callable[[Tensor], Tensor]) -> None:
    """Convert a parameter in place: it stays the same object, also for an optimizer."""
    with grad_mode(False):
        new = change(p.detach())
        if new.dtype is not p.dtype:
            p.data = new
            if p._grad is not None:
                p._grad = change(p._grad.detach())
