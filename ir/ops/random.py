"""Random numbers from a counter: Philox4x32-10 (Salmon et al., SC 2011), so that a draw depends only on seed and place.

The state is ``i64[2]``: the key (seed) and the offset, counted in blocks of four 32-bit words. Element ``e`` of a draw
reads word ``e // 16 % 4`` of the block ``offset + e // 64 * 16 + e % 16``: sixteen neighbours share one step of the
generator, and any split of the elements gives the same bits. A draw of 64 bits an element takes two words for each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import DType, bfloat16, float16, float32, float64, int64
from ..errors import DTypeError, ShapeError
from ..graph import Value
from ..loops import Index as At
from ..loops import Where, apply
from ..lowering import Index, Lowering, Pointwise
from ..op import Op, Type
from ..sizes import Dim, Shape, contiguous_strides, dim, poly
from .elementwise import bitwise_and, cast, shift_right

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
LOW = np.uint64(0xFFFFFFFF)


def philox(key: int, counter: np.ndarray) -> list[np.ndarray]:
    """The four words (as uint64 below 2^32) of each 64-bit counter."""
    c = [counter & LOW, counter >> np.uint64(32), np.zeros_like(counter), np.zeros_like(counter)]
    k0, k1 = key & 0xFFFFFFFF, key >> 32 & 0xFFFFFFFF
    for _ in range(10):
        p, q = c[0] * np.uint64(M0), c[2] * np.uint64(M1)
        c = [q >> np.uint64(32) ^ c[1] ^ np.uint64(k0), q & LOW, p >> np.uint64(32) ^ c[3] ^ np.uint64(k1), p & LOW]
        k0, k1 = (k0 + W0) & 0xFFFFFFFF, (k1 + W1) & 0xFFFFFFFF
    return c


def blocks(count: Dim) -> Dim:
    """By how much a draw of ``count`` elements advances the offset: enough for 32 and 64 bits, and a polynomial."""
    return dim(poly(count) + 16)


class RandomBits(Op):
    """``random_bits(state: i64[2], shape, bits) -> i64[shape]``: 32 random bits an element, or all 64."""

    name, operands, attributes = "random_bits", ("state",), ("shape", "bits")
    defaults = {"bits": 32}  # noqa: RUF012

    def infer(self, state: Type, shape: Shape, bits: int) -> Type:
        if state != Type(int64, (2,)):
            raise DTypeError(f"random_bits: the state is i64[2], not {state}")
        if bits not in (32, 64):
            raise ShapeError(f"random_bits: draws 32 or 64 bits, not {bits}")
        return Type(int64, tuple(shape))

    def reference(self, state: np.ndarray, shape: tuple[int, ...], bits: int) -> np.ndarray:
        key, offset = int(state[0]), int(state[1])
        e = np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.uint64)
        per = 64 if bits == 32 else 32
        block = np.uint64(offset & (2**64 - 1)) + e // np.uint64(per) * np.uint64(16) + e % np.uint64(16)
        words = np.stack(philox(key, block))
        which = (e // np.uint64(16) % np.uint64(per // 16)).astype(np.int64)
        place = np.arange(len(e))
        if bits == 32:
            return words[which, place].astype(np.int64).reshape(shape)
        both = words[2 * which, place] | words[2 * which + 1, place] << np.uint64(32)
        return both.astype(np.int64).reshape(shape)

    def lower(self, state: Type, shape: Shape, bits: int) -> Lowering:
        def element(at: Index, read: Any) -> Any:
            e = At(sum((poly(i) * step for i, step in zip(at, contiguous_strides(shape), strict=True)), poly(0)))
            shift, low = (6, 3) if bits == 32 else (5, 1)
            block = apply("shl", apply("shr", e, shift), 4) + apply("and", e, 15) + read((1,))
            which = apply("and", apply("shr", e, 4), low)
            if bits == 32:
                return apply("philox", read((0,)), block, which)
            first = apply("shl", which, 1)
            words = [apply("philox", read((0,)), block, word) for word in (first, first + 1)]
            return apply("or", words[0], apply("shl", words[1], 32))

        return Pointwise(element)


class RandomAdvance(Op):
    """``random_advance(state, count)``: the state after ``count`` more blocks."""

    name, operands, attributes = "random_advance", ("state",), ("count",)

    def infer(self, state: Type, count: Dim) -> Type:
        if state != Type(int64, (2,)):
            raise DTypeError(f"random_advance: the state is i64[2], not {state}")
        return state

    def reference(self, state: np.ndarray, count: int) -> np.ndarray:
        return state + np.array([0, count], np.int64)

    def lower(self, state: Type, count: Dim) -> Lowering:
        return Pointwise(lambda at, read: Where(((at[0], 1, 2),), read(at) + At(poly(count)), read(at)))


random_bits, random_advance = RandomBits(), RandomAdvance()

_MANTISSA = {float16: 11, bfloat16: 8, float32: 24, float64: 53}


def uniform(state: Value, shape: Shape, dtype: DType) -> Value:
    """Numbers in [0, 1) with every multiple of 2^-p equally likely, where p is the precision of ``dtype``."""
    if dtype not in _MANTISSA:
        raise DTypeError(f"uniform: draws floats, not {dtype.name}")
    precision = _MANTISSA[dtype]
    width = 64 if dtype is float64 else 32
    bits = random_bits(state, shape=shape, bits=width)
    top = shift_right(bits, bits.full(width - precision))
    if dtype is float64:
        top = bitwise_and(top, top.full(2**53 - 1))
    return cast(top, dtype=dtype) * 2.0**-precision  # type: ignore[no-any-return]
