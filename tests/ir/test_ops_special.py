"""What ops say of special values, wrong operands and known answers."""

import numpy as np
import pytest
from random_graphs import differences

from gristmill.ir import ops
from gristmill.ir.dtypes import (
    DTYPES,
    FLOATS,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint8,
)
from gristmill.ir.errors import DTypeError, IndexRangeError, ShapeError
from gristmill.ir.graph import Builder, building
from gristmill.ir.interpret import interpret
from gristmill.ir.op import OPS
from gristmill.ir.ops.elementwise import cast_array
from gristmill.ir.ops.random import philox
from gristmill.ir.parse import parse_type
from gristmill.passes.differentiate import differentiate

NAN, INF = float("nan"), float("inf")


def run(op, *arrays, **attributes):
    with np.errstate(all="ignore"):
        return op.reference(*arrays, **attributes)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_extremes_take_nan_and_order_zeros(dtype):
    a = np.array([0.0, -0.0, -0.0, NAN, 1.0, INF], dtype.numpy)
    b = np.array([-0.0, 0.0, -0.0, 1.0, NAN, -INF], dtype.numpy)
    largest = np.array([0.0, 0.0, -0.0, NAN, NAN, INF], dtype.numpy)
    least = np.array([-0.0, -0.0, -0.0, NAN, NAN, -INF], dtype.numpy)
    assert not differences(run(ops.maximum, a, b), largest)
    assert not differences(run(ops.minimum, a, b), least)
    for first, second, taken in zip(a, b, largest, strict=True):
        found = run(ops.amax, np.array([first, second]), axes=(0,))
        assert not differences(found, np.array(taken)), (first, second)
    assert not differences(run(ops.relu, a), np.array([0.0, 0.0, 0.0, NAN, 1.0, INF], dtype.numpy))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_nan_is_greatest(dtype):
    x = np.array([1, NAN, -2, 0.0, INF, NAN, -INF], dtype.numpy)
    assert run(ops.argmax, x, axis=0) == 1
    assert run(ops.argsort, x, axis=0, descending=False).tolist() == [6, 2, 3, 0, 4, 1, 5]
    assert run(ops.argsort, x, axis=0, descending=True).tolist() == [1, 5, 4, 0, 3, 2, 6]


def test_equal_elements_keep_their_order():
    x = np.array([2, 1, 2, 1, 3], np.int8)
    assert run(ops.argsort, x, axis=0, descending=False).tolist() == [1, 3, 0, 2, 4]
    assert run(ops.argsort, x, axis=0, descending=True).tolist() == [4, 0, 2, 1, 3]
    assert run(ops.argmax, x[:4], axis=0) == 0


@pytest.mark.parametrize(
    ("to", "expected"),
    [(int8, [0, 127, -128, 127, -128, 1, -1, 0]), (uint8, [0, 255, 0, 255, 0, 1, 0, 0]),
     (int64, [0, 2**63 - 1, -(2**63), 300, -300, 1, -1, 0]), (bool_, [1, 1, 1, 1, 1, 1, 1, 0])],
)  # fmt: skip
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_floats_become_integers_within_bounds(dtype, to, expected):
    x = np.array([NAN, INF, -INF, 300, -300, 1.9, -1.9, -0.0]).astype(dtype.numpy)
    with np.errstate(all="ignore"):
        assert cast_array(x, to).tolist() == expected


def test_integers_wrap_and_division_by_zero_gives_zero():
    x, y = np.array([127, -128, -128, 5], np.int8), np.array([1, -1, 0, 0], np.int8)
    assert run(ops.add, x, y).tolist() == [-128, 127, -128, 5]
    assert run(ops.floordiv, x, y).tolist() == [127, -128, 0, 0]
    assert run(ops.remainder, x, y).tolist() == [0, 0, 0, 0]
    assert run(ops.abs, x).tolist() == [127, -128, -128, 5]
    assert cast_array(np.array([300, -1, 256]), uint8).tolist() == [44, 255, 0]


def test_half_rounds_once():
    """A sum of f16 numbers is exact in f32 and rounds at the end; each op rounds by itself."""
    x = np.full(4096, 1.0, np.float16)
    assert run(ops.sum_, x, axes=(0,)) == 4096
    a, b = np.float16(2048), np.float16(1)
    assert run(ops.add, np.array(a), np.array(b)) == 2048
    assert run(ops.contract, x, x, spec="i,i->") == 4096
    assert run(ops.contract, x, x, spec="i,i->").dtype == np.float16


def test_philox_known_answers():
    """From the test vectors of Random123 (philox4x32-10, counter and key of zeros, then of ones)."""
    words = philox(0, np.zeros(1, np.uint64))
    assert [int(w[0]) for w in words] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def test_draws_do_not_depend_on_their_split():
    state = np.array([1234, 7])
    whole = run(ops.random_bits, state, shape=(256,), bits=32)
    later = run(ops.random_bits, state + np.array([0, 16]), shape=(192,), bits=32)
    assert whole[64:].tolist() == later.tolist()
    assert len(set(whole.tolist())) == 256 and whole.min() >= 0 and whole.max() < 2**32
    double = run(ops.random_bits, state, shape=(256,), bits=64)
    assert len(set(double.tolist())) == 256 and double.min() < 0 < double.max()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_uniform_numbers_are_below_one(dtype):
    b = Builder()
    with building(b):
        u = ops.uniform(b.input("state", "i64", (2,)), (5000,), dtype)
    (found,), _ = interpret(b.graph([u]), [np.array([3, 5])])
    found = found.astype(np.float64)
    assert found.min() >= 0 and found.max() < 1
    assert abs(found.mean() - 0.5) < 0.02 and abs(found.var() - 1 / 12) < 0.01


def test_indices_outside_are_refused():
    x = np.zeros(3, np.float32)
    with pytest.raises(IndexRangeError, match=r"gather: index 3 is outside of a dimension of size 3"):
        run(ops.gather, x, np.array([0, 3]), axis=0)
    with pytest.raises(IndexRangeError, match=r"scatter_add: index -1 "):
        run(ops.scatter_add, x, np.array([-1]), x[:1], axis=0)


def test_maximum_shares_the_cotangent():
    b = Builder()
    with building(b):
        x, y, g = (b.input(n, "f32", (4,)) for n in "xyg")
        found = differentiate({ops.maximum(x, y): g}, [x, y])
    arrays = [np.array(a, np.float32) for a in ([1, 2, 3, NAN], [2, 2, 1, 1], [8, 8, 8, 8])]
    outputs, _ = interpret(b.graph([found[x], found[y]]), arrays)
    assert [o.tolist() for o in outputs] == [[0, 4, 8, 8], [8, 4, 0, 8]]


# ---- what infer refuses ----

ROWS = [
    ("add", "f32[3] f64[3]", {}, DTypeError, "add: dtypes differ: x is f32[3] and y is f64[3]"),
    ("add", "f32[3] f32[4]", {}, ShapeError, "add: shapes differ: x is f32[3] and y is f32[4]"),
    ("exp", "i64[3]", {}, DTypeError, "exp takes f16, bf16, f32, f64, c64, c128; x is i64[3]"),
    ("lt", "c64[] c64[]", {}, DTypeError, "lt takes"),
    ("select", "f32[2] f32[2] f32[2]", {}, DTypeError, "the condition must be bool"),
    ("select", "bool[2] f32[2] f64[2]", {}, DTypeError, "dtypes differ"),
    ("select", "bool[2] f32[3] f32[3]", {}, ShapeError, "shapes differ"),
    ("overwrite", "f32[2] f32[3]", {}, ShapeError, "old is f32[2], new is f32[3]"),
    ("broadcast", "f32[2]", {"shape": (2, 3)}, ShapeError, "f32[2] does not stretch to (2, 3)"),
    ("broadcast", "f32[2, 3]", {"shape": (3,)}, ShapeError, "does not stretch"),
    ("permute", "f32[2, 3]", {"order": (0, 0)}, ShapeError, "(0, 0) is no order of the 2 dimensions"),
    ("reshape", "f32[2, 3]", {"shape": (5,)}, ShapeError, "has 6 elements, (5) has 5"),
    ("slice", "f32[3]", {"starts": (0,), "stops": (4,), "steps": (1,)}, ShapeError, "0:4 is outside of dimension 0"),
    ("slice", "f32[3]", {"starts": (-1,), "stops": (2,), "steps": (1,)}, ShapeError, "-1:2 is outside"),
    ("slice", "f32[3]", {"starts": (0,), "stops": (2,), "steps": (0,)}, ShapeError, "must be positive, not 0"),
    ("slice", "f32[3]", {"starts": (), "stops": (2,), "steps": (1,)}, ShapeError, "for each dimension"),
    ("put", "f32[3] f64[1]", {"starts": (0,), "stops": (1,), "steps": (1,)}, DTypeError, "new is f64[1]"),
    ("put", "f32[3] f32[2]", {"starts": (0,), "stops": (1,), "steps": (1,)}, ShapeError, "the type f32[1]"),
    ("concatenate", "", {"axis": 0}, ShapeError, "at least one operand"),
    ("concatenate", "f32[2] f32[2]", {"axis": 1}, ShapeError, "axis 1 of f32[2]"),
    ("concatenate", "f32[2] i64[2]", {"axis": 0}, DTypeError, "dtypes differ"),
    ("concatenate", "f32[2, 3] f32[2, 4]", {"axis": 0}, ShapeError, "sizes differ outside of axis 0"),
    ("sum", "f32[2, 3]", {"axes": (1, 0)}, ShapeError, "axes (1, 0) must be different, ascending dimensions"),
    ("sum", "bool[2]", {"axes": (0,)}, DTypeError, "bool[2] has no addition"),
    ("amax", "f32[2, 0]", {"axes": (1,)}, ShapeError, "no elements along (1,)"),
    ("amax", "c64[2]", {"axes": (0,)}, DTypeError, "has no order"),
    ("argmax", "bool[2]", {"axis": 0}, DTypeError, "has no order"),
    ("argmax", "f32[0]", {"axis": 0}, ShapeError, "no elements"),
    ("argsort", "c64[2]", {"axis": 0}, DTypeError, "has no order"),
    ("argsort", "f32[2]", {"axis": 1}, ShapeError, "axis 1 of f32[2]"),
    ("contract", "f32[2, 3] f32[4, 2]", {"spec": "ai,ib->ab"}, ShapeError, "inner sizes differ along 'i'"),
    ("contract", "f32[2] f32[2]", {"spec": "a,b->a"}, ShapeError, "a letter of only one operand"),
    ("contract", "f32[2, 2] f32[2]", {"spec": "aa,a->a"}, ShapeError, "a letter once in each term"),
    ("contract", "f32[2] f64[2]", {"spec": "i,i->"}, DTypeError, "one numeric dtype"),
    ("contract", "f32[2] f32[2]", {"spec": "ij,i->j"}, ShapeError, "does not fit the dimensions"),
    ("gather", "f32[3] i32[2]", {"axis": 0}, DTypeError, "the index must be i64, not i32[2]"),
    ("gather", "f32[3, 2] i64[2]", {"axis": 0}, ShapeError, "must have the dimensions of x"),
    ("gather", "f32[3, 2] i64[1, 3]", {"axis": 0}, ShapeError, "is larger than x, f32[3, 2], in dimension 1"),
    ("scatter_add", "f32[3] i64[2] f64[2]", {"axis": 0}, DTypeError, "one numeric dtype"),
    ("scatter_add", "f32[3] i64[2] f32[3]", {"axis": 0}, ShapeError, "the shape of index"),
    ("random_bits", "i64[3]", {"shape": (2,)}, DTypeError, "the state is i64[2], not i64[3]"),
    ("random_bits", "i64[2]", {"shape": (2,), "bits": 8}, ShapeError, "32 or 64 bits, not 8"),
    ("random_advance", "i32[2]", {"count": 3}, DTypeError, "the state is i64[2]"),
    ("iota", "", {"shape": (2,), "axis": 1}, ShapeError, "axis 1 of a shape with 1 dimensions"),
    ("iota", "", {"shape": (2,), "axis": 0, "dtype": float32}, DTypeError, "counts in integers"),
    ("constant", "", {"value": 1j, "dtype": float32, "shape": ()}, DTypeError, "1j is no f32"),
    ("constant", "", {"value": NAN, "dtype": int32, "shape": ()}, DTypeError, "no i32 is nan"),
]


@pytest.mark.parametrize(
    ("name", "types", "attributes", "error", "words"), ROWS, ids=[f"{r[0]}-{r[4][:24]}" for r in ROWS]
)
def test_refusal(name, types, attributes, error, words):
    b = Builder()
    inputs = [b.input(f"x{i}", *parse_type(t)) for i, t in enumerate(_split(types))]
    with building(b), pytest.raises(error) as caught:
        OPS[name](*inputs, **attributes)
    assert words in str(caught.value)
    assert b.nodes == []


def _split(types: str) -> list[str]:
    return [t + "]" for t in types.replace("] ", "]").split("]") if t]


def test_attributes_are_checked():
    b = Builder()
    x = b.input("x", "f32", (2,))
    with building(b):
        with pytest.raises(TypeError, match="sum: attribute 'axes' is missing"):
            ops.sum_(x)
        with pytest.raises(TypeError, match="sum has no attribute 'axis'; it has axes"):
            ops.sum_(x, axes=(0,), axis=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_constants_take_their_type(dtype):
    found = OPS["constant"].reference(1, dtype, (2, 3))
    assert found.dtype == dtype.numpy and found.shape == (2, 3) and (found == 1).all()


def test_constants_round_once():
    assert OPS["constant"].reference(2**53 + 1, float64, ()) == 2.0**53
    assert OPS["constant"].reference(0.1, float16, ()) == np.float16(0.1)
    least = OPS["constant"].reference(-0.0, bfloat16, ())
    assert least == 0 and np.signbit(least)
