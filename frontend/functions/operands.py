"""What every function does first: bring tensors and Python numbers to one dtype and one shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir import dtypes, ops, sizes
from ...ir.dtypes import DType, float32
from ...ir.errors import OpError, ShapeError
from ...ir.graph import Value, current
from ...ir.op import OPS, Op
from ...ir.sizes import Shape
from ...ir.source import caller, explain
from .. import eager, numbers
from ..layout import elementwise_strides
from ..state import state
from ..tensor import Tensor, value_of, wrap
from .arguments import as_operand, tensor_of

Operand = Any


def append(op: Op, *operands: Value, **attributes: Any) -> Value:
    """Append one op to what is being built."""
    return current().append(op, operands, op.bind(attributes))  # type: ignore[no-any-return]


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
        return _whole(number)
    return complex(number) if dtype.kind == "c" else float(number)


def _whole(number: Any) -> int:
    """A number as an integer of at most 64 bits; arithmetic wraps smaller ones to their type."""
    found = int(number)
    if not -(2**63) <= found < 2**64:
        raise OverflowError(explain(f"{found} does not fit into 64 bits", caller()))
    return found


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
    if not shapes:
        return ()
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


_SCALED = frozenset(["add", "sub", "mul", "div"])


def elementwise(op: Op, *operands: Operand, least: DType | None = None) -> Tensor:
    """Apply an elementwise op after promotion and broadcasting; ``least``: the type of integers and bools.

    A number that meets f16 or bf16 in arithmetic keeps the precision of f32: the result is rounded once.
    """
    operands = tuple(
        [
            x if isinstance(x, Tensor) else as_operand(x, _place(op, k))
            for k, x in enumerate(operands)
        ]
    )
    dtype, shape = common_dtype(operands), common_shape(op.name, operands)
    if least is not None and dtype.kind in "biu":
        dtype = least
    scaled = dtype.kind == "f" and dtype.itemsize == 2 and op.name in _SCALED
    wide = scaled and not all(isinstance(x, Tensor) for x in operands)
    out = append(op, *[bring(x, float32 if wide else dtype, shape) for x in operands])
    return wrap(cast(out, dtype) if wide else out, strides_of(operands, shape))


_SPELLED = {"floordiv": "floor_divide"} | {
    f"shift_{side}": f"bitwise_{side}_shift" for side in ("left", "right")
}


def _place(op: Op, k: int) -> str:
    """An operand of a function, as an error names it."""
    return f"{_SPELLED.get(op.name, op.name)}: {'other' if k else 'input'}"


def unary(name: str, to_float: bool = False, of_whole: str = "") -> Callable[[Tensor], Tensor]:
    """A function of one tensor that is one op.

    With ``to_float`` integers and bools become the default float first; ``of_whole`` is the op for integers.
    """
    op = ops.OPS[name]
    whole = ops.OPS[of_whole] if of_whole else op

    def function(input: Tensor) -> Tensor:
        input = tensor_of(input, name)
        value = value_of(input)
        if to_float and value.dtype.kind in "biu":
            value = cast(value, dtypes.default_float())
        chosen = whole if value.dtype.kind in "iu" else op
        return wrap(append(chosen, value), strides_of((input,), value.shape))

    function.__name__ = function.__qualname__ = name
    return function


def located(function: Callable[..., Any], *args: Any) -> Any:
    """Call a shape rule; its error gets the user's line."""
    try:
        return function(*args)
    except OpError as error:
        raise eager.located(error, caller()) from None
