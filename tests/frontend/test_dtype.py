"""Ranges and precisions of element types, and what has none."""

from __future__ import annotations

import pytest

import gristmill as gm

FLOATS = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
INTEGERS = ["uint8", "int8", "int16", "int32", "int64"]


@pytest.mark.parametrize("name", FLOATS)
def test_floats_as_torch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    ours, theirs = gm.finfo(getattr(gm, name)), torch.finfo(getattr(torch, name))
    assert repr(ours) == repr(theirs)
    for n in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution", "dtype"):
        assert getattr(ours, n) == getattr(theirs, n), n
    assert ours == gm.finfo(type=getattr(gm, name)) and gm.finfo() == gm.finfo(gm.float32)


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_as_torch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    ours, theirs = gm.iinfo(getattr(gm, name)), torch.iinfo(getattr(torch, name))
    assert repr(ours) == repr(theirs) and ours.bits == theirs.bits
    assert (ours.min, ours.max, ours.dtype) == (theirs.min, theirs.max, theirs.dtype)


def test_what_has_no_range() -> None:
    for make, words in (
        (lambda: gm.finfo(gm.int32), "use iinfo"),
        (lambda: gm.iinfo(gm.float32), "use finfo"),
        (lambda: gm.iinfo(gm.bool), "gristmill.bool is no integer type"),
        (lambda: gm.finfo(3), "not int"),
        (lambda: gm.iinfo("int8"), "not str"),
    ):
        with pytest.raises(TypeError, match=words):
            make()


def test_names_for_users_and_for_graphs() -> None:
    assert f"{gm.float32} {gm.bool}" == "gristmill.float32 gristmill.bool"
    assert str(gm.int64) == repr(gm.int64) == "gristmill.int64" and gm.int64.name == "i64"
