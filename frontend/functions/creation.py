"""New tensors: from data, filled, counted."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ...ir import dtypes
from ...ir.dtypes import DType, int64
from ...ir.op import OPS
from ...ir.ops.elementwise import cast_array
from ...ir.source import caller, explain
from .. import numbers
from ..device import device as device_of
from ..state import state
from ..storage import from_array
from ..tensor import Tensor, value_of, wrap
from .arguments import (
    PYTHON,
    fitting,
    fitting_array,
    float_of,
    integer_of,
    named_dtype,
    of_size,
    of_tensor,
    shape_of,
    size_of,
)
from .arithmetic import to
from .operands import append, cast
from .operands import full as full_value
from .shape import stack


def finish(t: Tensor, device: Any, requires_grad: bool) -> Tensor:
    """Check the device, and start recording if that was asked for."""
    if device is not None:
        device_of(device)
    return t.requires_grad_() if requires_grad else t


def tensor(
    data: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor with a copy of ``data``: numbers, nested lists, arrays. Floats get the default dtype, integers int64.

    ``pin_memory`` has no meaning on the CPU.

    >>> import gristmill as gm
    >>> gm.tensor([1, 2, 3]), gm.tensor(0.5).dtype
    (tensor([1, 2, 3]), gristmill.float32)
    """
    wanted = named_dtype(dtype) if dtype is not None else None
    symbolic = _symbolic(data, wanted)
    if symbolic is not None:
        return finish(symbolic, device, requires_grad)
    array = _array_of(data)
    if wanted is not None and not isinstance(data, np.ndarray):
        fitting_array(array, wanted, "tensor")
    return finish(
        _concrete(np.array(cast_array(array, wanted or dtypes.from_numpy(array.dtype)), order="C")),
        device,
        requires_grad,
    )


def _symbolic(data: Any, dtype: DType | None) -> Tensor | None:
    """Inside a trace: data that holds run-time numbers or tensors is put together from them."""
    if isinstance(data, Tensor):
        copy = wrap(append(OPS["detach"], append(OPS["alias"], value_of(data))))
        return copy if dtype is None else to(copy, dtype)
    if state.trace is None:
        return None
    if numbers.is_number(data):
        return wrap(full_value(data, dtype or dtypes.of_number(numbers.value(data)), ()))
    if isinstance(data, list | tuple) and any(
        isinstance(x, Tensor) or numbers.is_number(x) for x in data
    ):
        return stack([tensor(x, dtype=dtype) for x in data])
    return None


def _array_of(data: Any) -> np.ndarray:
    """Data as an array of one of our dtypes; a ragged or foreign one is refused."""
    if isinstance(data, np.ndarray | np.generic):
        return np.asarray(data)
    if isinstance(data, list | tuple) and any(isinstance(x, Tensor) for x in data):
        data = [x.tolist() if isinstance(x, Tensor) else x for x in data]
    try:
        array = np.array(data)
    except ValueError as error:
        raise ValueError(
            explain(f"tensor: the nested lists have no one shape: {error}", caller())
        ) from None
    if array.dtype.kind not in "biufc" and not _is_large(array):
        raise TypeError(explain(f"tensor: data must be numbers, not {array.dtype}", caller()))
    found = _common(_types_of(data))
    if array.dtype.kind in "uO" and found.kind != "u":
        raise OverflowError(explain("tensor: an integer does not fit into 64 bits", caller()))
    return array.astype(found.numpy, copy=False)


def _common(types: set[DType]) -> DType:
    return functools.reduce(dtypes.promote, types) if types else dtypes.default_float()


def _is_large(array: np.ndarray) -> bool:
    """Whether only the size of its integers makes an array one of objects."""
    return array.size > 0 and all(isinstance(x, int | float) for x in array.flat)


def _types_of(data: Any) -> set[DType]:
    """The dtypes of what nested lists hold: NumPy's numbers keep theirs, Python's have the default ones."""
    if isinstance(data, list | tuple):
        kinds = set(map(type, data))
        if kinds <= PYTHON.keys():
            return {dtypes.of_number(kind()) for kind in kinds}
        return set().union(*map(_types_of, data))
    if isinstance(data, np.ndarray | np.generic):
        return {dtypes.from_numpy(data.dtype)}
    return {dtypes.of_number(data)}


def _concrete(array: np.ndarray) -> Tensor:
    """A tensor on an array; inside a trace it is a constant of the trace."""
    storage = from_array(array)
    if state.trace is not None:
        return wrap(state.trace.fixed(storage))
    return Tensor(storage)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor on the memory of an array: writes to one are seen by the other.

    >>> import gristmill as gm, numpy as np
    >>> a = np.zeros(2, np.float32)
    >>> gm.from_numpy(a).add_(1.0); a
    tensor([1., 1.])
    array([1., 1.], dtype=float32)
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(
            explain(f"from_numpy: takes an array, not {type(array).__name__}", caller())
        )
    if any(s < 0 or s % array.itemsize for s in array.strides):
        raise ValueError(
            explain(
                "from_numpy: strides must be whole, non-negative steps of elements",
                caller(),
                "pass array.copy()",
            )
        )
    return _concrete(array)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """``data`` as a tensor, without a copy where that is possible."""
    if isinstance(data, Tensor):
        return data if dtype is None else to(data, named_dtype(dtype))
    if isinstance(data, np.ndarray) and (dtype is None or named_dtype(dtype).numpy == data.dtype):
        return from_numpy(data)
    return tensor(data, dtype=dtype, device=device)


def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor with one number in every place; its dtype is that of the number unless given."""
    found = (
        named_dtype(dtype)
        if dtype is not None
        else dtypes.of_number(
            numbers.value(fill_value) if numbers.is_number(fill_value) else fill_value
        )
    )
    shape = shape_of((size,) if isinstance(size, tuple | list) else ((size,),), "full")
    number = fitting(fill_value, found, "full")
    return finish(wrap(full_value(number, found, shape)), device, requires_grad)


@of_size
def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros."""
    return full(
        shape_of(size, "zeros"),
        0.0,
        dtype=dtype or dtypes.default_float(),
        device=device,
        requires_grad=requires_grad,
    )


@of_size
def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones."""
    return full(
        shape_of(size, "ones"),
        1.0,
        dtype=dtype or dtypes.default_float(),
        device=device,
        requires_grad=requires_grad,
    )


@of_size
def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose elements are not promised (they are zeros)."""
    return zeros(*size, dtype=dtype, device=device, requires_grad=requires_grad)


@of_tensor
def zeros_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Zeros in the shape and dtype of another tensor."""
    return full_like(input, 0, dtype=dtype, device=device, requires_grad=requires_grad)


@of_tensor
def ones_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Ones in the shape and dtype of another tensor."""
    return full_like(input, 1, dtype=dtype, device=device, requires_grad=requires_grad)


@of_tensor
def empty_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """As ``empty``, in the shape and dtype of another tensor."""
    return full_like(input, 0, dtype=dtype, device=device, requires_grad=requires_grad)


@of_tensor
def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """One number in every place, in the shape and dtype of another tensor."""
    found = named_dtype(dtype) if dtype is not None else input.dtype
    number = fitting(fill_value, found, "full_like")
    return finish(wrap(full_value(number, found, input._type.shape)), device, requires_grad)


def arange(
    start: Any = None,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """``start``, ``start + step`` ... below ``end``: int64 if all three are integers, else the default float.

    ``arange(n)`` starts at 0.
    """
    if start is None and end is None:
        raise TypeError(explain("arange: end is missing", caller()))
    start, end = (0, start) if end is None else (0 if start is None else start, end)
    start, end, step = (_number(x) for x in (start, end, step))
    whole = all(isinstance(x, int) for x in (start, end, step))
    found = named_dtype(dtype) if dtype is not None else int64 if whole else dtypes.default_float()
    if whole and start == 0 and step == 1:
        shape: Any = (numbers.dim(end),)
        if type(shape[0]) is int and shape[0] < 0:
            raise ValueError(explain(f"arange: end ({end}) lies before start (0)", caller()))
        return finish(
            wrap(cast(append(OPS["iota"], shape=shape, axis=0, dtype=int64), found)),
            device,
            requires_grad,
        )
    first, last, by = (float(x) if not whole else int(x) for x in (start, end, step))
    if by == 0 or (last - first) / by < 0:
        raise ValueError(
            explain(f"arange: steps of {by} do not lead from {first} to {last}", caller())
        )
    count = math.ceil((last - first) / by)
    wide = np.int64 if whole else np.float64
    places = np.arange(count).astype(wide) * wide(by) + wide(first)
    return finish(_concrete(cast_array(places, found)), device, requires_grad)


def _number(x: Any) -> Any:
    """A Python number, of a number of NumPy or a tensor of one element too."""
    if isinstance(x, np.generic | np.ndarray | Tensor):
        return x.item()
    if not isinstance(x, int | float):
        raise TypeError(explain(f"arange: takes numbers, not {type(x).__name__}", caller()))
    return x


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """``steps`` numbers at equal distances from ``start`` to ``end``, both included."""
    found = named_dtype(dtype) if dtype is not None else dtypes.default_float()
    first, last = float_of(start, "linspace", "start"), float_of(end, "linspace", "end")
    count = integer_of(steps, "linspace", "steps")
    size_of(count, "linspace")
    return finish(
        _concrete(np.linspace(first, last, count).astype(found.numpy)), device, requires_grad
    )


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones on the diagonal of an ``[n, m]`` matrix of zeros."""
    shape = shape_of((n, n if m is None else m), "eye")
    row, column = (append(OPS["iota"], shape=shape, axis=a, dtype=int64) for a in (0, 1))
    found = named_dtype(dtype) if dtype is not None else dtypes.default_float()
    return finish(wrap(cast(append(OPS["eq"], row, column), found)), device, requires_grad)


__all__ = [
    "arange",
    "as_tensor",
    "empty",
    "empty_like",
    "eye",
    "from_numpy",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "tensor",
    "zeros",
    "zeros_like",
]
