"""Initial values of parameters. Sources: Glorot and Bengio, AISTATS 2010 (xavier); He et al., ICCV 2015 (kaiming)."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np

from ...frontend.functions.creation import as_tensor
from ...frontend.random import randn
from ...frontend.tensor import Tensor, grad_mode
from ...ir.dtypes import float64


def _drawn(tensor: Tensor, method: str, *args: Any, generator: Any = None) -> Tensor:
    with grad_mode(False):
        return getattr(tensor, method)(*args, generator=generator)  # type: ignore[no-any-return]


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform in [a, b)."""
    return _drawn(tensor, "uniform_", a, b, generator=generator)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normally distributed."""
    return _drawn(tensor, "normal_", mean, std, generator=generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Any = None,
) -> Tensor:
    """Normally distributed, drawn again where outside of [a, b]."""
    normal = NormalDist(mean, std)
    if normal.cdf(b) - normal.cdf(a) < 1e-3:
        raise ValueError(f"trunc_normal_: next to nothing of N({mean}, {std}) lies in [{a}, {b}]")
    values = np.full(tensor.numel(), np.inf)
    while (outside := np.flatnonzero((values < a) | (values > b))).size:
        drawn = randn(outside.size, dtype=float64, generator=generator)
        values[outside] = drawn.numpy() * std + mean
    with grad_mode(False):
        return tensor.copy_(as_tensor(values.reshape(tensor.shape)))  # type: ignore[no-any-return]


def constant_(tensor: Tensor, val: float) -> Tensor:
    """One number everywhere."""
    with grad_mode(False):
        return tensor.fill_(val)  # type: ignore[no-any-return]


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return constant_(tensor, 1.0)


def _fans(tensor: Tensor) -> tuple[int, int]:
    shape = tensor.shape
    if len(shape) < 2:
        raise ValueError("fan in and fan out need a tensor with at least two dimensions")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def calculate_gain(nonlinearity: str, param: Any = None) -> float:
    """The factor by which weights grow before a nonlinearity, as PyTorch's table has it."""
    plain = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "identity": 1.0,
        "tanh": 5.0 / 3,
        "relu": math.sqrt(2.0),
        "selu": 0.75,
    }
    if nonlinearity in plain or nonlinearity.startswith("conv"):
        return plain.get(nonlinearity, 1.0)
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    raise ValueError(f"no gain is known for {nonlinearity!r}: {', '.join([*plain, 'leaky_relu'])}")


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform so that variance is kept forwards and backwards on average."""
    fan_in, fan_out = _fans(tensor)
    bound = gain * math.sqrt(6.0 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Normal so that variance is kept forwards and backwards on average."""
    fan_in, fan_out = _fans(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', not {mode!r}")
    fan = _fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Uniform so that variance is kept through rectifiers."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Normal so that variance is kept through rectifiers."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)
