"""The methods and operators of Tensor: the functions of this floor under their method names, as one table."""

from __future__ import annotations

from typing import Any

from ..ir.dtypes import (
    DType,
    bfloat16,
    bool_,
    complex64,
    complex128,
    default_float,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from ..ir.errors import DTypeError
from ..ir.source import caller, explain
from . import copies, inplace, random
from .autograd import backward
from .device import Device
from .device import device as device_of
from .functions import arithmetic, indexing, linalg, nn, reduction, shape
from .functions.arguments import axis_of, is_operand, is_python_type, named_dtype, tensor_of
from .show import represent
from .state import state
from .tensor import Tensor


def to(
    self: Tensor,
    *args: Any,
    dtype: Any = None,
    device: Any = None,
    non_blocking: bool = False,
    copy: bool = False,
) -> Tensor:
    """The tensor in another dtype and/or on another device: ``to(dtype)``, ``to(device)``, ``to(other)``.

    After these ``non_blocking`` and ``copy`` may follow. Returns ``self`` where nothing changes, unless ``copy``.
    ``non_blocking`` has no meaning on the CPU.
    """
    rest = list(args)
    if rest and isinstance(rest[0], Tensor):
        dtype, device = rest[0].dtype, rest.pop(0).device
    elif rest and _is_dtype(rest[0]):
        dtype = rest.pop(0)
    elif rest and _is_device(rest[0]):
        device = rest.pop(0)
        if rest and (rest[0] is None or _is_dtype(rest[0])):
            dtype = rest.pop(0)
    flags = rest[:2]
    if rest != flags or not all(isinstance(x, bool) for x in flags):
        given = ", ".join(type(x).__name__ for x in args)
        raise TypeError(
            explain(f"to: takes a dtype, a device or a tensor, not ({given})", caller())
        )
    copy = flags[1] if len(flags) == 2 else copy
    if device is not None:
        device_of(device)
    out = self if dtype is None else arithmetic.to(self, named_dtype(dtype))
    return shape.clone(out) if copy and out is self else out


def _is_dtype(x: Any) -> bool:
    return isinstance(x, DType) or is_python_type(x)


def _is_device(x: Any) -> bool:
    return x is None or (isinstance(x, Device | str | int) and not isinstance(x, bool))


def cpu(self: Tensor) -> Tensor:
    """The tensor on the CPU: itself."""
    return self


def cuda(self: Tensor, device: Any = None, non_blocking: bool = False) -> Tensor:
    """The tensor on a GPU, of which there is none here: RuntimeError."""
    device_of("cuda" if device is None else device)
    return self


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in the dtype of another."""
    return arithmetic.to(self, other.dtype)


def _converter(dtype: DType) -> Any:
    def convert(self: Tensor) -> Tensor:
        return arithmetic.to(self, dtype)

    convert.__doc__ = f"The tensor as {dtype.long}."
    return convert


def formatted(self: Tensor, spec: str) -> str:
    """``f"{x:.2f}"``: of a 0-d tensor as its number, of others (without a format) as ``repr``."""
    trace = state.trace
    known = self._storage.owner is None if trace is None else trace.holds_concrete(self)
    if not self._type.shape and (spec or known):
        return format(self.item(), spec)
    if spec:
        raise TypeError(explain(f"only a 0-d tensor takes a format, not {self._type}", caller()))
    return repr(self)


def contains(self: Tensor, element: Any) -> bool:
    """Whether some element equals ``element``."""
    return bool(reduction.any(arithmetic.eq(self, element)))


def size(self: Tensor, dim: int | None = None) -> Any:
    """The shape, or one size of it."""
    return self.shape if dim is None else self.shape[_own(dim, self, "size")]


def stride(self: Tensor, dim: int | None = None) -> Any:
    """The steps between neighbours in elements, of all dimensions or one."""
    strides = tuple(self._strides)
    return strides if dim is None else strides[_own(dim, self, "stride")]


def _own(dim: int, x: Tensor, name: str) -> int:
    return axis_of(dim, x.ndim, name, scalar=False)


def split(self: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views along ``dim``: of one size each (the last may be shorter), or of the sizes of a list."""
    return shape.split(self, split_size, dim)


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements."""
    input, other = tensor_of(input, "equal"), tensor_of(other, "equal", "other")
    if input._type.shape != other._type.shape:
        return False
    return bool(reduction.all(arithmetic.eq(input, other)))


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether ``|input - other| <= atol + rtol * |other|`` everywhere, computed in their dtype (integers as floats)."""
    input, other = tensor_of(input, "allclose"), tensor_of(other, "allclose", "other")
    if input.dtype is not other.dtype:
        raise DTypeError(
            explain(f"allclose: dtypes differ: {input._type} and {other._type}", caller())
        )
    close = arithmetic.eq(input, other)
    if equal_nan:
        both = arithmetic.bitwise_and(arithmetic.isnan(input), arithmetic.isnan(other))
        close = arithmetic.bitwise_or(close, both)
    if input.dtype.kind in "biu":
        input, other = (arithmetic.to(x, default_float()) for x in (input, other))
    allowed = reduction.magnitude(other * rtol) + atol
    apart = reduction.magnitude(input - other)
    near = arithmetic.bitwise_and(arithmetic.isfinite(apart), apart <= allowed)
    return bool(reduction.all(arithmetic.bitwise_or(close, near)))


def retain_grad(self: Tensor) -> None:
    """Only leaves keep a gradient here; for another tensor use ``autograd.grad``."""
    if not self.is_leaf:
        raise RuntimeError(
            explain(
                "retain_grad: a result keeps no .grad",
                caller(),
                "use autograd.grad(loss, [tensor])",
            )
        )


def _flipped(function: Any) -> Any:
    return lambda self, other: function(other, self)


def _compared(function: Any) -> Any:
    """An operator that leaves it to Python to compare a tensor with what is no number: ``x == None`` is False."""

    def method(self: Tensor, other: Any) -> Any:
        return function(self, other) if is_operand(other) else NotImplemented

    return method


def _reversed(self: Tensor) -> Tensor:
    """``reversed(x)``: the first dimension in reverse order."""
    return shape.flip(self, 0)


def _positive(self: Tensor) -> Tensor:
    """``+x``: the tensor itself; of bools an error."""
    if self.dtype is bool_:
        raise DTypeError(explain("+x: bools have no sign", caller()))
    return self


def uniform_(self: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Any = None) -> Tensor:
    """Write random numbers from [from, to)."""
    random.check_range(from_, to)
    return inplace.assign(
        self,
        random.rand(self._type.shape, dtype=self.dtype, generator=generator) * (to - from_) + from_,
    )


def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Write normally distributed random numbers."""
    random.check_deviation(std)
    return inplace.assign(
        self, random.randn(self._type.shape, dtype=self.dtype, generator=generator) * std + mean
    )


OPERATORS = {
    "__add__": arithmetic.add,
    "__radd__": _flipped(arithmetic.add),
    "__sub__": arithmetic.sub,
    "__rsub__": _flipped(arithmetic.sub),
    "__mul__": arithmetic.mul,
    "__rmul__": _flipped(arithmetic.mul),
    "__truediv__": arithmetic.div,
    "__rtruediv__": _flipped(arithmetic.div),
    "__floordiv__": arithmetic.floor_divide,
    "__rfloordiv__": _flipped(arithmetic.floor_divide),
    "__mod__": arithmetic.remainder,
    "__rmod__": _flipped(arithmetic.remainder),
    "__pow__": arithmetic.pow,
    "__rpow__": _flipped(arithmetic.pow),
    "__matmul__": linalg.matmul,
    "__rmatmul__": _flipped(linalg.matmul),
    "__neg__": arithmetic.neg,
    "__abs__": arithmetic.abs,
    "__pos__": _positive,
    "__eq__": _compared(arithmetic.eq),
    "__ne__": _compared(arithmetic.ne),
    "__lt__": arithmetic.lt,
    "__le__": arithmetic.le,
    "__gt__": arithmetic.gt,
    "__ge__": arithmetic.ge,
    "__and__": arithmetic.bitwise_and,
    "__rand__": arithmetic.bitwise_and,
    "__or__": arithmetic.bitwise_or,
    "__ror__": arithmetic.bitwise_or,
    "__xor__": arithmetic.bitwise_xor,
    "__rxor__": arithmetic.bitwise_xor,
    "__invert__": arithmetic.bitwise_not,
    "__lshift__": arithmetic.bitwise_left_shift,
    "__rlshift__": _flipped(arithmetic.bitwise_left_shift),
    "__rshift__": arithmetic.bitwise_right_shift,
    "__rrshift__": _flipped(arithmetic.bitwise_right_shift),
    "__iadd__": inplace.METHODS["add_"],
    "__isub__": inplace.METHODS["sub_"],
    "__imul__": inplace.METHODS["mul_"],
    "__itruediv__": inplace.METHODS["div_"],
    "__ifloordiv__": inplace.METHODS["floor_divide_"],
    "__imod__": inplace.METHODS["remainder_"],
    "__ipow__": inplace.METHODS["pow_"],
    "__iand__": inplace.METHODS["bitwise_and_"],
    "__ior__": inplace.METHODS["bitwise_or_"],
    "__ixor__": inplace.METHODS["bitwise_xor_"],
    "__ilshift__": inplace.METHODS["bitwise_left_shift_"],
    "__irshift__": inplace.METHODS["bitwise_right_shift_"],
    "__getitem__": indexing.get_item,
    "__setitem__": indexing.set_item,
    "__repr__": represent,
    "__copy__": copies.shallow,
    "__deepcopy__": copies.deepcopy,
    "__reduce_ex__": copies.reduce,
    "__format__": formatted,
    "__contains__": contains,
    "__reversed__": _reversed,
}

ARITHMETIC = (
    "add",
    "sub",
    "mul",
    "div",
    "floor_divide",
    "remainder",
    "pow",
    "neg",
    "abs",
    "floor",
    "ceil",
    "trunc",
    "round",
    "exp",
    "log",
    "log2",
    "log10",
    "sqrt",
    "rsqrt",
    "sin",
    "cos",
    "tanh",
    "sigmoid",
    "erf",
    "relu",
    "square",
    "reciprocal",
    "sign",
    "maximum",
    "minimum",
    "clamp",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "bitwise_not",
    "bitwise_left_shift",
    "bitwise_right_shift",
    "logical_and",
    "logical_or",
    "logical_xor",
    "logical_not",
    "isnan",
    "isinf",
    "isfinite",
    "addcmul",
    "addcdiv",
    "lerp",
    "conj",
)
REDUCTIONS = (
    "sum",
    "mean",
    "var",
    "std",
    "amax",
    "amin",
    "argmax",
    "argmin",
    "max",
    "min",
    "all",
    "any",
    "norm",
)
SHAPES = (
    "permute",
    "transpose",
    "t",
    "view",
    "reshape",
    "flatten",
    "unflatten",
    "squeeze",
    "unsqueeze",
    "expand",
    "expand_as",
    "broadcast_to",
    "narrow",
    "select",
    "chunk",
    "unbind",
    "repeat",
    "detach",
    "clone",
    "contiguous",
    "flip",
)
ALIASES = {
    "subtract": arithmetic.sub,
    "multiply": arithmetic.mul,
    "divide": arithmetic.div,
    "true_divide": arithmetic.div,
    "negative": arithmetic.neg,
    "absolute": arithmetic.abs,
    "clip": arithmetic.clamp,
    "logsumexp": reduction.logsumexp,
    "matmul": linalg.matmul,
    "mm": linalg.mm,
    "bmm": linalg.bmm,
    "mv": linalg.mv,
    "dot": linalg.dot,
    "outer": linalg.outer,
    "gather": indexing.gather,
    "scatter_add": indexing.scatter_add,
    "index_select": indexing.index_select,
    "masked_fill": indexing.masked_fill,
    "argsort": indexing.argsort,
    "softmax": nn.softmax,
    "log_softmax": nn.log_softmax,
    "where": lambda self, condition, other: arithmetic.where(condition, self, other),
    "split": split,
    "size": size,
    "stride": stride,
    "to": to,
    "cpu": cpu,
    "cuda": cuda,
    "type_as": type_as,
    "backward": backward,
    "equal": equal,
    "allclose": allclose,
    "retain_grad": retain_grad,
    "uniform_": uniform_,
    "normal_": normal_,
    "swapaxes": shape.transpose,
    "bernoulli": random.bernoulli,
}
CONVERSIONS = {
    "float": float32,
    "double": float64,
    "half": float16,
    "bfloat16": bfloat16,
    "long": int64,
    "int": int32,
    "short": int16,
    "char": int8,
    "byte": uint8,
    "bool": bool_,
    "cfloat": complex64,
    "cdouble": complex128,
}


def attach() -> None:
    """Give Tensor its methods."""
    table: dict[str, Any] = {n: getattr(arithmetic, n) for n in ARITHMETIC}
    table |= {n: getattr(reduction, n) for n in REDUCTIONS}
    table |= {n: getattr(shape, n) for n in SHAPES}
    table |= {n: _converter(d) for n, d in CONVERSIONS.items()}
    for name, method in {**table, **ALIASES, **inplace.METHODS, **OPERATORS}.items():
        setattr(Tensor, name, method)
    properties = {"T": shape.reverse_dims, "mT": shape.matrix_transpose}
    for name, function in properties.items():
        setattr(Tensor, name, property(function))


attach()
