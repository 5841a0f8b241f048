"""Python numbers that may change between calls of a compiled function."""

from __future__ import annotations

import operator
from typing import Any

from ..ir.sizes import Dim, Poly


def is_number(x: Any) -> bool:
    """Whether ``x`` is a run-time number of the open trace."""
    return False


def value(x: Any) -> Any:
    """The number that ``x`` is in this call."""
    return x


def dim(x: Any) -> Dim:
    """``x`` as a size."""
    return x if isinstance(x, Poly) else operator.index(x)
