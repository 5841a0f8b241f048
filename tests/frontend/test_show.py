"""The text of tensors: word for word PyTorch's, but for the name of the package."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import gristmill as gm

DTYPES = [
    "float32",
    "float64",
    "float16",
    "int64",
    "int32",
    "uint8",
    "int8",
    "bool",
    "complex64",
    "complex128",
]


@pytest.mark.parametrize(
    "data, text",
    [
        ([1.0, 2.5], "tensor([1.0000, 2.5000])"),
        (1.5, "tensor(1.5000)"),
        ([1.0, 2.0], "tensor([1., 2.])"),
        ([1e-5, 1.0], "tensor([1.0000e-05, 1.0000e+00])"),
        ([float("nan"), 1.0, -float("inf")], "tensor([nan, 1., -inf])"),
        ([float("nan"), 0.5], "tensor([   nan, 0.5000])"),
        ([[True, False]], "tensor([[ True, False]])"),
        ([[1, -20], [3, 4]], "tensor([[  1, -20],\n        [  3,   4]])"),
        ([1 + 2.5j], "tensor([1.+2.5000j])"),
        ([], "tensor([])"),
        (np.zeros((3, 0), np.int64), "tensor([], size=(3, 0), dtype=gristmill.int64)"),
        (np.zeros(2, np.uint8), "tensor([0, 0], dtype=gristmill.uint8)"),
        (np.arange(2000), "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])"),
    ],
)
def test_text(data: Any, text: str) -> None:
    assert repr(gm.tensor(data)) == text


def test_how_it_was_made_is_shown() -> None:
    x = gm.zeros(20, requires_grad=True)
    row = "tensor([" + ", ".join(["0."] * 20) + "]"
    assert repr(x) == row + ",\n       requires_grad=True)"
    assert repr(x[:1] * 2) == "tensor([0.], grad_fn=<mul>)"


def test_a_number_in_a_text() -> None:
    x, many = gm.tensor(1.5), gm.ones(2)
    assert f"{x} {x:.3f} {many}" == "1.5 1.500 tensor([1., 1.])"
    with pytest.raises(TypeError, match="format"):
        f"{many:.3f}"


def draw(rng: np.random.Generator, dtype: str) -> np.ndarray:
    """An array of some rank, of few or many numbers, near or far apart, with zeros and what is no number."""
    rank = rng.integers(0, 5)
    most = [0, 3000, 80, 20, 9][rank] if rng.random() < 0.5 else 8
    shape = tuple(rng.integers(rng.random() > 0.1, most, rank)) if rank else ()
    a = np.asarray(rng.standard_normal(shape) * 10.0 ** rng.integers(-8, 9))
    if rng.random() < 0.3:
        a = np.round(a)
    if rng.random() < 0.3:
        a = a * 10.0 ** rng.integers(-3, 3, shape)
    if np.dtype(dtype).kind in "iub":
        return np.asarray(a % 100).astype(dtype)
    odd = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0])
    a = np.where(rng.random(shape) < rng.choice([0, 0.2]), odd, a)
    if np.dtype(dtype).kind == "c":
        a = a + 1j * rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 3)
    with np.errstate(over="ignore"):
        return np.asarray(a).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_tensors_as_torch(dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    rng = np.random.default_rng(DTYPES.index(dtype))
    for _ in range(40):
        array = draw(rng, dtype)
        ours, theirs = repr(gm.tensor(array)), repr(torch.from_numpy(array.copy()))
        # Our package's name is longer, so that a dtype may be the first to reach a new line.
        flat = [re.sub(r",\s+dtype=\w+", ", dtype=", text) for text in (ours, theirs)]
        assert flat[0] == flat[1]
