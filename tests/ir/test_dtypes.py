"""Element types and promotion, against PyTorch where it is installed."""

import copy
import itertools
import pickle

import numpy as np
import pytest

from gristmill.ir import dtypes
from gristmill.ir.dtypes import DTYPES, by_name, from_numpy, of_number, promote, result_type


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="promotion is compared with PyTorch's, which is not installed")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_type_is_one_object(dtype):
    assert by_name(dtype.name) is by_name(dtype.long) is from_numpy(dtype.numpy) is dtype
    assert copy.copy(dtype) is copy.deepcopy(dtype) is pickle.loads(pickle.dumps(dtype)) is dtype
    assert dtype.numpy.itemsize == dtype.itemsize == dtype.bits // 8
    assert repr(dtype) == f"gristmill.{dtype.long}"


def test_unknown_types_are_refused():
    with pytest.raises(ValueError, match="no dtype is called 'f31'; there are bool, u8"):
        by_name("f31")
    with pytest.raises(TypeError, match="NumPy's uint16 has no counterpart"):
        from_numpy(np.uint16)
    with pytest.raises(ValueError, match="at least one operand"):
        result_type([])
    with pytest.raises(TypeError, match="must be a float"):
        dtypes.set_default_float(dtypes.int32)


def test_numbers_have_types():
    found = [of_number(n) for n in (True, np.True_, 3, np.int32(3), 2.5, 1j)]
    assert [d.name for d in found] == ["bool", "bool", "i64", "i64", "f32", "c64"]
    dtypes.set_default_float(dtypes.float64)
    try:
        assert (of_number(1.0), of_number(1j)) == (dtypes.float64, dtypes.complex128)
    finally:
        dtypes.set_default_float(dtypes.float32)


@pytest.mark.parametrize(("a", "b"), list(itertools.product(DTYPES, DTYPES)), ids=str)
def test_promotion_is_pytorchs(torch, a, b):
    expected = torch.promote_types(getattr(torch, a.long), getattr(torch, b.long))
    assert promote(a, b) is promote(b, a)
    assert str(expected) == f"torch.{promote(a, b).long}"


NUMBERS = (True, 3, 2.5, 1j)


@pytest.mark.parametrize("a", DTYPES, ids=str)
def test_ranks_are_pytorchs(torch, a):
    """A tensor with dimensions or a 0-d tensor, beside each other dtype of each lower rank, and numbers."""
    of = lambda d, rank: torch.zeros([1] * rank, dtype=getattr(torch, d.long))  # noqa: E731
    for b in DTYPES:
        check(torch.result_type(of(a, 1), of(b, 0)), result_type([a], [b]))
        check(torch.result_type(of(a, 1), of(b, 1)), result_type([a, b]))
        check(torch.result_type(of(a, 0), of(b, 0)), result_type((), [a, b]))
    for number in NUMBERS:
        check(torch.result_type(of(a, 1), number), result_type([a], (), [of_number(number)]))
        check(torch.result_type(of(a, 0), number), result_type((), [a], [of_number(number)]))


def check(theirs, ours):
    """The same type; where PyTorch has complex32, which we do not, ours is complex64."""
    assert str(theirs) in (f"torch.{ours.long}", "torch.complex32" if ours is dtypes.complex64 else "")
