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
    """Range and precision of a float type: ``eps``, ``max``, ``min``, ``tiny``, ``bits``.

    >>> finfo(dtypes.float32).bits
    32
    """

    def __init__(self, dtype: DType | None = None) -> None:
        self.dtype = dtype or default_float()
        if self.dtype is dtypes.bfloat16:
            import ml_dtypes

            info: Any = ml_dtypes.finfo(self.dtype.numpy)
        else:
            info = np.finfo(self.dtype.numpy)
        self.bits, self.eps, self.max, self.min = (
            self.dtype.bits,
            float(info.eps),
            float(info.max),
            float(info.min),
        )
        self.tiny = self.smallest_normal = float(info.tiny)


class iinfo:
    """The range of an integer type: ``max``, ``min``, ``bits``.

    >>> iinfo(dtypes.int8).max
    127
    """

    def __init__(self, dtype: DType) -> None:
        info = np.iinfo(dtype.numpy)
        self.dtype, self.bits, self.max, self.min = dtype, dtype.bits, int(info.max), int(info.min)
