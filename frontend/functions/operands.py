"""What every function does first: bring tensors and Python numbers to one dtype and one shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir import dtypes, ops, sizes
from ...ir.dtypes import DType
from ...ir.errors import OpError, ShapeError
from ...ir.graph import Value, current
from ...ir.op import OPS, Op
from ...ir.sizes import Shape
from ...ir.source import caller, explain
from .. import eager, numbers
from ..layout import elementwise_strides
from ..state import state
from ..storage import from_array
from ..tensor import Tensor, value_of, wrap

Operand = Any


def append(op: Op, *operands: Value, **attributes: Any) -> Value:
    """Append one op to what is being built."""
    return current().append(op, operands, op.bind(attributes))  # type: ignore[no-any-return]


def shape_of(sizes_: Any) -> Shape:
    """Sizes as users give them, ``f(2, 3)`` or ``f((2, 3))``, as a shape of integers and polynomials."""
    if len(sizes_) == 1 and isinstance(sizes_[0], tuple | list):
        sizes_ = sizes_[0]
    return tuple([numbers.dim(n) for n in sizes_])


def cast(value: Value, dtype: DType) -> Value:
    """``value`` in another type; itself if it has it."""
    return value if value.dtype is dtype else append(OPS["cast"], value, dtype=dtype)


def stretch(value: Value, shape: Shape) -> Value:
    """``value`` broadcast to a shape; itself if it has it."""
    return value if value.shape == shape else append(OPS["broadcast"], value, shape=shape)


def full(number: Any, dtype: DType, shape: Shape) -> Value:
    """A Python number (also a run-time one) in every place."""
    if numbers.is_number(number):
        return stretch(state.trace.scalar(number, dtype), shape)
    return append(OPS["constant"], value=_plain(number, dtype), dtype=dtype, shape=shape)


def _plain(number: Any, dtype: DType) -> Any:
    if dtype.kind == "b":
        return bool(number)
    if dtype.kind in "iu":
        return int(number)
    return complex(number) if dtype.kind == "c" else float(number)


def as_operand(x: Any, what: str = "an operand") -> Operand:
    """A tensor, or a number; arrays become tensors, anything else is a TypeError with the user's line."""
    if isinstance(x, Tensor | bool | int | float | complex) or numbers.is_number(x):
        return x
    if isinstance(x, np.ndarray | np.generic):
        return Tensor(from_array(np.asarray(x)))
    raise TypeError(
        explain(f"{what} must be a Tensor or a number, not {type(x).__name__}", caller())
    )


def dtype_of_number(x: Any) -> DType:
    """The type that a Python number asks for."""
    return dtypes.of_number(numbers.value(x) if numbers.is_number(x) else x)


def common_dtype(operands: Sequence[Operand]) -> DType:
    """PyTorch's promotion over tensors with dimensions, 0-d tensors and numbers."""
    if len(operands) == 2:
        a, b = operands
        if isinstance(a, Tensor) and isinstance(b, Tensor) and a._type.dtype is b._type.dtype:
            return a._type.dtype
    tensors = [x for x in operands if isinstance(x, Tensor)]
    return dtypes.result_type(
        [t.dtype for t in tensors if t._type.shape],
        [t.dtype for t in tensors if not t._type.shape],
        [dtype_of_number(x) for x in operands if not isinstance(x, Tensor)],
    )


def common_shape(name: str, operands: Sequence[Operand]) -> Shape:
    """The shape that all tensors broadcast to; ShapeError with the user's line."""
    shapes = [x._type.shape for x in operands if isinstance(x, Tensor)]
    first = shapes[0]
    if all(s == first for s in shapes):
        return first
    try:
        return sizes.broadcast_shapes(*shapes)
    except sizes.SizeError:
        raise
    except ValueError as error:
        types = " and ".join(str(x._type) for x in operands if isinstance(x, Tensor))
        raise ShapeError(
            explain(
                f"{name}: shapes do not broadcast: {types}: {error}",
                caller(),
                "reshape or unsqueeze one of them so that each pair of sizes is equal or has a 1",
            )
        ) from None


def bring(x: Operand, dtype: DType, shape: Shape) -> Value:
    """An operand as a value of a dtype and a shape."""
    if not isinstance(x, Tensor):
        return full(x, dtype, shape)
    value = cast(value_of(x), dtype)
    return value if value.shape == shape else append(OPS["broadcast"], value, shape=shape)


def strides_of(operands: Sequence[Operand], shape: Shape) -> Shape | None:
    """The layout of an elementwise result (None: row-major)."""
    if len(shape) < 2:
        return None
    return elementwise_strides(
        shape, [(x._type.shape, x._strides) for x in operands if isinstance(x, Tensor)]
    )


def together(name: str, *operands: Operand) -> tuple[list[Value], Shape | None]:
    """Operands in one dtype and shape, and the layout of an elementwise result."""
    operands = tuple([as_operand(x, f"{name}: an operand") for x in operands])
    dtype, shape = common_dtype(operands), common_shape(name, operands)
    return [bring(x, dtype, shape) for x in operands], strides_of(operands, shape)


def elementwise(op: Op, *operands: Operand) -> Tensor:
    """Apply an elementwise op after promotion and broadcasting."""
    values, strides = together(op.name, *operands)
    return wrap(append(op, *values), strides)


def unary(name: str, to_float: bool = False) -> Callable[[Tensor], Tensor]:
    """A function of one tensor that is one op; with ``to_float`` integers and bools become the default float first."""
    op = ops.OPS[name]

    def function(input: Tensor) -> Tensor:
        input = tensor_of(input, name)
        value = value_of(input)
        if to_float and value.dtype.kind in "biu":
            value = cast(value, dtypes.default_float())
        return wrap(append(op, value), strides_of((input,), value.shape))

    function.__name__ = function.__qualname__ = name
    return function


def tensor_of(x: Any, name: str) -> Tensor:
    """A tensor, or an array as one; TypeError for anything else."""
    if isinstance(x, Tensor):
        return x
    found = as_operand(x, f"{name}: input")
    if isinstance(found, Tensor):
        return found
    raise TypeError(explain(f"{name}: input must be a Tensor, not {type(x).__name__}", caller()))


def axis_of(dim: Any, rank: int, name: str = "dim") -> int:
    """A dimension counted from the front; IndexError as PyTorch's where there is none of that number."""
    n = max(rank, 1)
    dim = int(dim)
    if not -n <= dim < n:
        raise IndexError(
            explain(f"{name}: dimension {dim} is out of range: expected {-n} to {n - 1}", caller())
        )
    return dim % n


def axes_of(dim: Any, rank: int, name: str = "dim") -> tuple[int, ...]:
    """Dimensions from the front, ascending; None and () mean all."""
    if dim is None or (isinstance(dim, tuple | list) and not dim):
        return tuple(range(rank))
    dims = [axis_of(d, rank, name) for d in (dim if isinstance(dim, tuple | list) else (dim,))]
    if len(set(dims)) != len(dims):
        raise ShapeError(explain(f"{name}: a dimension stands twice in {tuple(dims)}", caller()))
    return tuple(sorted(dims)) if rank else ()


def located(function: Callable[..., Any], *args: Any) -> Any:
    """Call a shape rule; its error gets the user's line."""
    try:
        return function(*args)
    except OpError as error:
        raise eager.located(error, caller()) from None
