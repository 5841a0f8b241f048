"""Losses over classes: kinds of targets and weights as in PyTorch, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gristmill as gm
from gristmill import nn
from gristmill.nn import functional as F

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((4, 3)).astype(np.float32)
CLASSES = np.array([0, 2, 1, 1])
SHARES = np.exp(LOGITS[::-1]) / np.exp(LOGITS[::-1]).sum(1, keepdims=True)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
def test_bytes_and_shares_are_torchs(reduction: str, smoothing: float) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    found = []
    for lib in (gm, torch):
        x, share, w = lib.tensor(LOGITS), lib.tensor(SHARES), lib.tensor([1.0, 2.0, 0.5])
        bytes_ = lib.tensor(CLASSES.astype(np.uint8))
        loss = lib.nn.CrossEntropyLoss(w, reduction=reduction, label_smoothing=smoothing)
        whole = bytes_.long() if lib is torch and smoothing else bytes_  # there it fails on bytes
        outs = [loss(x, whole), loss(x, share), loss(x, share.double())]
        loss = lib.nn.CrossEntropyLoss(w.double(), reduction=reduction, ignore_index=-1)
        outs += [loss(x, share), lib.nn.NLLLoss(w, reduction=reduction, ignore_index=1)(x, bytes_)]
        found.append([np.asarray(out) for out in outs])
    for a, b in zip(*found, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5)


X, Y, P = gm.tensor(LOGITS), gm.tensor(CLASSES), gm.tensor(SHARES)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: nn.CrossEntropyLoss(label_smoothing=1.5)(X, Y), RuntimeError, "1, not 1.5"),
        (lambda: F.cross_entropy(X, P, label_smoothing=-0.1), RuntimeError, "label_smoothing"),
        (lambda: F.cross_entropy(X, Y, gm.ones(2)), ValueError, r"shape \(3,\), not f32\[2\]"),
        (lambda: F.cross_entropy(X, Y, gm.ones(1, 3)), ValueError, r"not f32\[1, 3\]"),
        (lambda: F.cross_entropy(X, P, gm.ones(2)), ValueError, "weight must have the shape"),
        (lambda: F.nll_loss(X, Y, gm.ones(2)), ValueError, "nll_loss.*weight"),
        (lambda: F.nll_loss(X, Y, gm.ones(3).double()), TypeError, "weight must be f32, not f64"),
        (
            lambda: F.cross_entropy(X, Y, gm.ones(3).long()),
            TypeError,
            "weight must be f32, not i64",
        ),
        (lambda: F.cross_entropy(X, P, ignore_index=0), RuntimeError, "ignore_index"),
        (lambda: F.cross_entropy(X, Y.int()), TypeError, "int64 or uint8, not i32"),
        (lambda: F.nll_loss(X, Y.double()), TypeError, "int64 or uint8, not f64"),
        (lambda: F.cross_entropy(X, Y[:3]), ValueError, r"shape \(4,\), not i64\[3\]"),
        (lambda: F.nll_loss(X[0, 0], Y[0]), ValueError, "nll_loss: input is"),
    ],
)
def test_what_is_refused(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
