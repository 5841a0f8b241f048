"""Writing into tensors: a new value for the whole storage, derived back through the views.

What is written through one view is seen by every other view of the storage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ir.errors import DTypeError, GradError, ShapeError
from ..ir.graph import Value, current
from ..ir.op import OPS
from ..ir.source import caller, explain
from .functions import arithmetic
from .functions.arguments import as_operand, fitting
from .functions.operands import append, bring, stretch
from .state import bump, state
from .storage import Stamp, Storage, has_history, settle
from .tensor import Tensor, base_value, grad_mode, value_of


def write(t: Tensor, value: Value) -> Tensor:
    """Make ``value`` what ``t`` holds; every view of its storage sees it. Returns ``t``."""
    storage, trace = t._storage, state.trace
    before = base_value(storage, t)
    recording = state.grad_enabled and all(op.name != "detach" for op, _ in t._steps)
    if storage.leaf is not None and recording:
        raise GradError(
            explain(
                "a leaf tensor that requires grad is changed in place while operations are recorded",
                caller(),
                "do it inside `with gm.no_grad():`, or on x.data",
            )
        )
    if value.type != t._type:
        raise ShapeError(
            explain(f"in place: a value of type {value.type} does not fit into {t._type}", caller())
        )
    if any(op.name == "broadcast" for op, _ in t._steps):
        raise ShapeError(
            explain(
                "in place: several elements of an expanded tensor are one place in memory",
                caller(),
                "clone() it first",
            )
        )
    if trace is None:
        t._array()[...] = value.data
    return keep(t, before, value, recording)


def keep(t: Tensor, before: Value, value: Value, recording: bool) -> Tensor:
    """Note that the memory of ``t`` holds ``value`` now, and ``before`` no longer in its whole storage."""
    storage, trace = t._storage, state.trace
    if t._steps and (trace is not None or value.tracked or before.tracked):
        value = _put_back(t, before, value)
    if before.tracked and not recording and storage.leaf is None:
        with grad_mode(True):
            value = append(OPS["overwrite"], before, value)
    elif value.tracked and not recording:
        value = append(OPS["detach"], value)
    storage.advance()
    _hold(storage, value)
    return t


def _put_back(t: Tensor, before: Value, value: Value) -> Value:
    """The value of the whole storage in which the view ``t`` holds ``value``."""
    bases = [before]
    for op, attributes in t._steps[:-1]:
        bases.append(current().append(op, (bases[-1],), attributes))
    for (op, attributes), base in zip(reversed(t._steps), reversed(bases), strict=True):
        value = op.put(base, value, **op.named(attributes))
    return value


def _hold(storage: Storage, value: Value) -> None:
    """Let the storage hold ``value`` from now on."""
    trace = state.trace
    if trace is not None:
        if storage.leaf is not None:
            value = trace.mark(value, storage.leaf)
        elif value.note is not None:
            value = append(OPS["alias"], value)
        storage.value = value
    elif value.tracked and storage.leaf is None:
        if value.note is not None:
            value = append(OPS["alias"], value)
        if not has_history(storage):
            bump()
        storage.value, value.data = value, storage.data
    else:
        if has_history(storage):
            bump()
        settle(storage)
        return
    storage.value.note = Stamp(storage, storage.leaf)


def assign(t: Tensor, source: Any) -> Tensor:
    """Write ``source`` (a tensor or a number) into ``t``, cast and broadcast to it."""
    source = as_operand(source, "the source of a write")
    if isinstance(source, Tensor):
        try:
            OPS["broadcast"].infer(source._type, shape=t._type.shape)
        except ShapeError:
            raise ShapeError(
                explain(f"in place: {source._type} does not broadcast to {t._type}", caller())
            ) from None
    else:
        source = fitting(source, t.dtype, "in place")
    value = (
        bring(source, t.dtype, t._type.shape)
        if isinstance(source, Tensor)
        else stretch(bring(source, t.dtype, t._type.shape), t._type.shape)
    )
    if isinstance(source, Tensor) and value is value_of(source):
        value = append(OPS["alias"], value)
    return write(t, value)


def in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method ``f_`` of a function ``f``: its result is written into the first argument."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        out = function(self, *args, **kwargs)
        if out.dtype is not self.dtype:
            _check_cast(function.__name__, out, self)
            out = arithmetic.to(out, self.dtype)
        if out._type.shape != self._type.shape:
            raise ShapeError(
                explain(
                    f"{function.__name__}_: the result is {out._type}, which does not fit into {self._type}",
                    caller(),
                    f"a tensor keeps its shape: use {function.__name__}() and its result",
                )
            )
        return write(self, value_of(out))

    method.__name__ = method.__qualname__ = f"{function.__name__}_"
    method.__doc__ = f"``{function.__name__}`` in place."
    return method


_RANK = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


def _check_cast(name: str, out: Tensor, into: Tensor) -> None:
    if _RANK[out.dtype.kind] > _RANK[into.dtype.kind]:
        raise DTypeError(
            explain(
                f"{name}_: the result is {out.dtype!r} and cannot be kept in {into.dtype!r}",
                caller(),
                "convert the tensor first, or compute out of place",
            )
        )


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Write ``src`` into this tensor, cast and broadcast to it. ``non_blocking`` has no meaning on the CPU."""
    return assign(self, src)


def fill_(self: Tensor, value: Any) -> Tensor:
    """Write one number everywhere."""
    return assign(self, value)


def zero_(self: Tensor) -> Tensor:
    """Write 0 everywhere."""
    return assign(self, 0)


METHODS = {
    f"{name}_": in_place(getattr(arithmetic, name))
    for name in (
        "add",
        "sub",
        "mul",
        "div",
        "pow",
        "remainder",
        "floor_divide",
        "neg",
        "abs",
        "floor",
        "ceil",
        "trunc",
        "round",
        "exp",
        "log",
        "sqrt",
        "sin",
        "cos",
        "tanh",
        "sigmoid",
        "erf",
        "relu",
        "clamp",
        "addcmul",
        "addcdiv",
        "lerp",
        "square",
        "reciprocal",
        "rsqrt",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "bitwise_not",
        "bitwise_left_shift",
        "bitwise_right_shift",
        "logical_and",
        "logical_or",
        "logical_not",
    )
} | {"copy_": copy_, "fill_": fill_, "zero_": zero_}
