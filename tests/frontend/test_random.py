"""What random numbers refuse: seeds, devices, probabilities and ranges that mean nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gristmill as gm

NAN = float("nan")


@pytest.mark.parametrize(
    "draw, error, words",
    [
        (lambda: gm.Generator("cuda"), RuntimeError, "CUDA"),
        (lambda: gm.Generator("foo"), RuntimeError, "no device 'foo'"),
        (lambda: gm.manual_seed(2**65), ValueError, "64 bits"),
        (lambda: gm.Generator().manual_seed(-(2**63) - 1), ValueError, "64 bits"),
        (lambda: gm.Generator().manual_seed(1.5), TypeError, "not float"),
        (lambda: gm.bernoulli(gm.tensor([0.5, 1.5])), RuntimeError, "between 0 and 1"),
        (lambda: gm.bernoulli(gm.tensor([-0.1])), RuntimeError, "between 0 and 1"),
        (lambda: gm.bernoulli(gm.tensor([NAN])), RuntimeError, "between 0 and 1"),
        (lambda: gm.bernoulli(gm.tensor([1])), TypeError, "floats, not i64"),
        (lambda: gm.ones(2).uniform_(2, 1), RuntimeError, "from 2 to 1 is empty"),
        (lambda: gm.ones(2).uniform_(0, NAN), RuntimeError, "empty"),
        (lambda: gm.ones(2).normal_(0, -1), RuntimeError, "at least 0, not -1"),
        (lambda: gm.nn.init.normal_(gm.ones(2), 0, NAN), RuntimeError, "not nan"),
    ],
)
def test_what_is_refused(draw: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        draw()


def test_what_is_just_allowed() -> None:
    assert gm.Generator().manual_seed(2**64 - 1).manual_seed(-(2**63)).device.type == "cpu"
    assert gm.Generator().manual_seed(np.int64(3)).initial_seed() == 3
    assert gm.bernoulli(gm.tensor([0.0, 1.0])).tolist() == [0, 1]
    assert gm.ones(2).uniform_(1, 1).tolist() == gm.zeros(2).normal_(1, 0).tolist() == [1, 1]
