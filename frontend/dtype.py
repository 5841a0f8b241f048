"""Questions about element types: the default one, what a mixture becomes, ranges and precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir import dtypes
from ..ir.dtypes import DType, default_float, promote, set_default_float
from .functions.operands import as_operand, common_dtype
from .state import bump


def get_default_dtype() -> DType:
    """The type of new float tensors: float32 unless it was set."""
    return default_float()


def set_default_dtype(d: DType) -> None:
    """Make ``d`` the type of new float tensors."""
    set_default_float(d)
    bump()


def promote_types(type1: DType, type2: DType) -> DType:
    """The smallest type that holds both."""
    return promote(type1, type2)


def result_type(tensor1: Any, tensor2: Any) -> DType:
    """The type of the result of arithmetic on two tensors or numbers."""
    return common_dtype((as_operand(tensor1), as_operand(tensor2)))


class finfo:
    """Range and precision of a float type: ``eps``, ``max``, ``min``, ``tiny``, ``resolution``, ``bits``.

    A complex type has those of its parts.

    >>> finfo(dtypes.float32)
    finfo(resolution=1e-06, min=-3.40282e+38, max=3.40282e+38, eps=1.19209e-07, smallest_normal=1.17549e-38, \
tiny=1.17549e-38, dtype=float32)
    """

    def __init__(self, type: DType | None = None) -> None:
        given = _checked("finfo", default_float() if type is None else type)
        if given.kind not in "fc":
            raise TypeError(f"finfo: {given!r} is no float type; use iinfo")
        found = {"c64": dtypes.float32, "c128": dtypes.float64}.get(given.name, given)
        if found is dtypes.bfloat16:
            import ml_dtypes

            info: Any = ml_dtypes.finfo(found.numpy)
        else:
            info = np.finfo(found.numpy)
        self.dtype, self.bits = found.long, found.bits
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.tiny = self.smallest_normal = float(info.tiny)
        self.resolution = 10.0 ** -int(info.precision)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, finfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        numbers = ", ".join(f"{n}={getattr(self, n):g}" for n in names)
        return f"finfo({numbers}, dtype={self.dtype})"


class iinfo:
    """The range of an integer type: ``max``, ``min``, ``bits``.

    >>> iinfo(dtypes.int8)
    iinfo(min=-128, max=127, dtype=int8)
    """

    def __init__(self, type: DType) -> None:
        given = _checked("iinfo", type)
        if given.kind not in "iu":
            raise TypeError(f"iinfo: {given!r} is no integer type; use finfo for floats")
        info = np.iinfo(given.numpy)
        self.dtype, self.bits = given.long, given.bits
        self.max, self.min = int(info.max), int(info.min)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, iinfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


def _checked(name: str, given: Any) -> DType:
    if not isinstance(given, DType):
        raise TypeError(
            f"{name}: expected a dtype such as gristmill.float32, not {type(given).__name__}"
        )
    return given
