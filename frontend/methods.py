"""The methods and operators of Tensor: the functions of this floor under their method names, as one table."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.dtypes import (
    DType,
    bfloat16,
    bool_,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from ..ir.source import caller, explain
from . import copies, inplace, random
from .autograd import backward
from .device import Device
from .device import device as device_of
from .functions import arithmetic, indexing, linalg, nn, reduction, shape
from .show import represent
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

    Returns ``self`` where nothing changes, unless ``copy``. ``non_blocking`` has no meaning on the CPU.
    """
    for arg in args:
        if isinstance(arg, Tensor):
            dtype, device = arg.dtype, arg.device
        elif isinstance(arg, DType) or arg in (float, int, bool, complex):
            dtype = arg
        elif isinstance(arg, Device | str | int) and not isinstance(arg, bool):
            device = arg
    if device is not None:
        device_of(device)
    out = self if dtype is None else arithmetic.to(self, arithmetic.named_dtype(dtype))
    return shape.clone(out) if copy and out is self else out


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


def contains(self: Tensor, element: Any) -> bool:
    """Whether some element equals ``element``."""
    return bool(reduction.any(arithmetic.eq(self, element)))


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements."""
    if input._type.shape != other._type.shape:
        return False
    return bool(reduction.all(arithmetic.eq(input, other)))


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether ``|input - other| <= atol + rtol * |other|`` everywhere."""
    return bool(np.allclose(input.detach().numpy(), other.detach().numpy(), rtol, atol, equal_nan))


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


def _kwargs_named(function: Any) -> Any:
    """A reduction that also takes NumPy's names axis and keepdims."""

    def method(
        self: Tensor, *args: Any, axis: Any = None, keepdims: bool | None = None, **kwargs: Any
    ) -> Any:
        if axis is not None:
            kwargs["dim"] = axis
        if keepdims is not None:
            kwargs["keepdim"] = keepdims
        return function(self, *args, **kwargs)

    method.__name__, method.__doc__ = function.__name__, function.__doc__
    return method


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
    "__eq__": arithmetic.eq,
    "__ne__": arithmetic.ne,
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
    "__rshift__": arithmetic.bitwise_right_shift,
    "__iadd__": inplace.METHODS["add_"],
    "__isub__": inplace.METHODS["sub_"],
    "__imul__": inplace.METHODS["mul_"],
    "__itruediv__": inplace.METHODS["div_"],
    "__ipow__": inplace.METHODS["pow_"],
    "__getitem__": indexing.get_item,
    "__setitem__": indexing.set_item,
    "__repr__": represent,
    "__copy__": copies.shallow,
    "__deepcopy__": copies.deepcopy,
    "__reduce_ex__": copies.reduce,
    "__contains__": contains,
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
    "split",
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
    table |= {n: _kwargs_named(getattr(reduction, n)) for n in REDUCTIONS}
    table |= {n: getattr(shape, n) for n in SHAPES}
    table |= {n: _converter(d) for n, d in CONVERSIONS.items()}
    for name, method in {**table, **ALIASES, **inplace.METHODS, **OPERATORS}.items():
        setattr(Tensor, name, method)
    properties = {"T": shape.reverse_dims, "mT": shape.matrix_transpose}
    for name, function in properties.items():
        setattr(Tensor, name, property(function))


attach()
