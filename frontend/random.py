"""Random numbers: generators whose state is a tensor, so that a trace captures it and writes it back like any other.

Each draw advances the state by a count known from its shape: the same numbers eagerly and compiled, with any number of
threads (Philox, see ``ir.ops.random``).
"""

from __future__ import annotations

import math
import secrets
from typing import Any

import numpy as np

from ..ir import dtypes
from ..ir.dtypes import DType, float32, float64, int64
from ..ir.errors import DTypeError
from ..ir.graph import Value
from ..ir.op import OPS
from ..ir.ops import uniform
from ..ir.ops.random import blocks
from ..ir.sizes import Shape, product
from ..ir.source import caller, explain
from . import inplace
from .device import device as device_of
from .functions import arithmetic
from .functions.arguments import (
    bounds_of,
    fitting,
    integer_of,
    named_dtype,
    of_size,
    of_tensor,
    shape_of,
)
from .functions.creation import finish
from .functions.operands import append, full
from .state import state
from .storage import from_array
from .tensor import Tensor, value_of, wrap


class Generator:
    """A stream of random numbers, given by a seed and an offset.

    >>> g = Generator().manual_seed(3)
    >>> g.initial_seed()
    3
    """

    def __init__(self, device: Any = "cpu") -> None:
        self.device = device_of(device)
        self._seed = 67280421310721
        self._tensor = Tensor(from_array(np.array([self._seed, 0], np.int64)))

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of ``seed`` (any integer of 64 bits) from its beginning."""
        if state.trace is not None:
            state.trace.refuse(
                "manual_seed inside a traced function",
                "seed before the call: the state is an input of it",
            )
        if not isinstance(seed, int | np.integer):
            raise TypeError(f"manual_seed: the seed must be an int, not {type(seed).__name__}")
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"manual_seed: {seed} does not fit into 64 bits")
        self._seed = int(seed)
        self._tensor._array()[:] = np.array([self._seed & (2**64 - 1), 0], np.uint64).view(np.int64)
        return self

    def seed(self) -> int:
        """Start a stream that nobody has seen; returns its seed."""
        self.manual_seed(secrets.randbits(63))
        return self._seed

    def initial_seed(self) -> int:
        """The seed that the stream was started with."""
        return self._seed

    def get_state(self) -> Tensor:
        """Seed and offset, as an int64 tensor."""
        return self._tensor.clone()  # type: ignore[no-any-return]

    def set_state(self, new_state: Tensor) -> Generator:
        """Go on from a state that ``get_state`` gave."""
        self._tensor._array()[:] = new_state.numpy()
        self._seed = int(self._tensor._array()[0])
        return self

    def draw(self, count_of: Shape) -> Value:
        """The state before a draw of that shape; the state advances."""
        before = value_of(self._tensor.clone())  # the state's own memory is written below
        after = append(OPS["random_advance"], before, count=blocks(product(count_of)))
        inplace.write(self._tensor, after)
        return before


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator with a number that nobody has seen."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default generator."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Set the state of the default generator."""
    default_generator.set_state(new_state)


def _float(dtype: Any) -> DType:
    found = named_dtype(dtype) if dtype is not None else dtypes.default_float()
    if not found.is_floating_point:
        raise DTypeError(
            explain(
                f"random numbers in [0, 1) are floats, not {found!r}",
                caller(),
                "use randint for integers",
            )
        )
    return found


def _uniform(generator: Generator | None, shape: Shape, dtype: DType) -> Value:
    before = (generator or default_generator).draw(shape)
    return uniform(before, shape, dtype)


@of_size
def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers in [0, 1), all equally likely."""
    return finish(
        wrap(_uniform(generator, shape_of(size, "rand"), _float(dtype))), device, requires_grad
    )


@of_tensor
def rand_like(input: Tensor, *, dtype: Any = None) -> Tensor:
    """As ``rand``, in the shape and dtype of another tensor."""
    return rand(input._type.shape, dtype=dtype or input.dtype)


@of_size
def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers of mean 0 and variance 1, normally distributed. Source: Box and Muller, 1958."""
    found, shape = _float(dtype), shape_of(size, "randn")
    wide = float64 if found is float64 else float32
    radius = 1 - _uniform(generator, shape, wide)
    angle = _uniform(generator, shape, wide) * (2 * math.pi)
    out = append(OPS["sqrt"], append(OPS["log"], radius) * -2.0) * append(OPS["cos"], angle)
    return finish(arithmetic.to(wrap(out), found), device, requires_grad)


@of_tensor
def randn_like(input: Tensor, *, dtype: Any = None) -> Tensor:
    """As ``randn``, in the shape and dtype of another tensor."""
    return randn(input._type.shape, dtype=dtype or input.dtype)


def randint(
    low: Any,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Integers from ``low`` (0 if left out) to ``high - 1``: ``randint(10, (3,))``, ``randint(5, 10, (3,))``."""
    if size is None:
        low, high, size = 0, low, high
    low, high = integer_of(low, "randint", "low"), integer_of(high, "randint", "high")
    if high <= low:
        raise ValueError(explain(f"randint: high ({high}) must be above low ({low})", caller()))
    found = named_dtype(dtype) if dtype is not None else int64
    least, greatest = bounds_of(found) if found.kind in "iu" else (low, high)
    if not (0 if found.kind == "u" else least) <= low < high <= greatest + 1:
        raise RuntimeError(explain(f"randint: {found!r} cannot hold {low} to {high - 1}", caller()))
    shape = shape_of((size,) if isinstance(size, tuple | list) else ((size,),), "randint")
    before = (generator or default_generator).draw(shape)
    span = high - low
    if span <= 2**31:
        bits = append(OPS["random_bits"], before, shape=shape, bits=32)
        scaled = append(OPS["shift_right"], bits * full(span, int64, shape), full(32, int64, shape))
    else:
        bits = append(OPS["random_bits"], before, shape=shape, bits=64)
        positive = append(OPS["bitwise_and"], bits, full(2**63 - 1, int64, shape))
        scaled = append(OPS["remainder"], positive, full(span, int64, shape))
    return finish(
        arithmetic.to(wrap(scaled + full(low, int64, shape)), found), device, requires_grad
    )


def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """The integers 0 .. n - 1 in random order: places of sorted 64-bit draws."""
    shape = shape_of((n,), "randperm")
    found = named_dtype(dtype) if dtype is not None else int64
    if type(shape[0]) is int and shape[0]:
        fitting(shape[0] - 1, found, "randperm")
    before = (generator or default_generator).draw(shape)
    bits = append(OPS["random_bits"], before, shape=shape, bits=64)
    out = wrap(append(OPS["argsort"], bits, axis=0, descending=False))
    return finish(arithmetic.to(out, found), device, requires_grad)


@of_tensor
def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that each element states, else 0.

    RuntimeError where a probability is not between 0 and 1, if the values are there to be looked at.
    """
    if not input.is_floating_point():
        raise DTypeError(
            explain(f"bernoulli: probabilities are floats, not {input._type}", caller())
        )
    if state.trace is None or state.trace.holds_concrete(input):
        array = input._array()
        if not ((array >= 0) & (array <= 1)).all():
            raise RuntimeError(
                explain("bernoulli: every probability must be between 0 and 1", caller())
            )
    draws = wrap(
        _uniform(generator, input._type.shape, float64 if input.dtype is float64 else float32)
    )
    return arithmetic.to(draws < input, input.dtype)


def check_range(low: Any, high: Any) -> None:
    """Whether numbers can be drawn from [low, high)."""
    if not low <= high:
        raise RuntimeError(explain(f"uniform_: the range from {low} to {high} is empty", caller()))


def check_deviation(std: Any) -> None:
    """Whether a standard deviation is one."""
    if not std >= 0:
        raise RuntimeError(explain(f"normal_: std must be at least 0, not {std}", caller()))
